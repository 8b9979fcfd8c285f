import { onTestFinished } from "vitest";

type Cleanup = () => Promise<void>;

const ofThisFile: Cleanup[] = [];

/** Runs `cleanup` when the test that calls this ends; outside a test (beforeAll, the file's top level), when the file ends. */
export function onScopeEnd(cleanup: Cleanup): void {
  try {
    onTestFinished(cleanup);
  } catch {
    ofThisFile.push(cleanup);
  }
}

/** Called by the setup file, after the hooks of the test file itself. Every clean-up runs; the first failure is thrown. */
export async function cleanUpFile(): Promise<void> {
  const failures: unknown[] = [];
  for (const cleanup of ofThisFile.splice(0).reverse()) {
    await cleanup().catch((error: unknown) => failures.push(error));
  }
  if (failures.length > 0) throw failures[0];
}
