import { randomUUID } from "node:crypto";
import type { ClaimedRun } from "@rowback/db";
import type { Handlers } from "@rowback/jobs";
import type { RunTask } from "../handlers/worker-context.ts";
import type { Outcomes } from "../outcomes.ts";
import type { WorkerOptions } from "../worker.ts";

/** Handlers that do what the test says in place of a verification, and nothing else. */
export function scripted(script: (task: RunTask) => Promise<unknown>): Required<Pick<WorkerOptions, "handlers">> {
  const refuse = async (): Promise<never> => {
    throw new Error("this test asks for verifications only");
  };
  return {
    handlers: (): Handlers<ClaimedRun, Outcomes> => ({
      discovery: refuse,
      backup: refuse,
      restore_preview: refuse,
      restore: refuse,
      tenant_erase: refuse,
      capture_setup: refuse,
      capture_teardown: refuse,
      restore_point: refuse,
      history: refuse,
      backup_verify: async (task) => {
        await script(task);
        return {
          kind: "backup_verify",
          result: { backupId: randomUUID(), manifestSha256: "0".repeat(64), rowCount: task.attempt, rawBytes: 0 },
        };
      },
    }),
  };
}

/** Rejects with the signal's reason when it aborts, as a verb does. */
export function untilStopped(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });
}

/** A door that handlers wait at. */
export function door(): { readonly opened: Promise<void>; open(): void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}
