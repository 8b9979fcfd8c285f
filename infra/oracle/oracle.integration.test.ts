import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { z } from "zod";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));
const Outputs = z.object({ stdout: z.string(), stderr: z.string() });
const Verdict = z.looseObject({
  points: z.number(),
  compared: z.number(),
  inDeclaredGap: z.number(),
  besideSchemaChange: z.number(),
  unexpectedRefusals: z.number(),
  restored: z.number(),
  physical: z.number(),
  schemaChanges: z.number(),
  captureKills: z.number(),
  mismatches: z.number(),
});

test("twenty moments of a busy database come back as they were, by two judges that are not ours", {
  timeout: 400_000,
}, async () => {
  const args = ["--points", "20", "--seed", "7", "--restores", "1", "--physical", "2"];
  // Exit code 1 comes with a verdict, too, and with the mismatches.
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [MAIN, ...args]).catch((error: unknown) =>
    Outputs.parse(error),
  );
  const verdict = Verdict.parse(JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? ""));
  expect(verdict, stderr).toMatchObject({ points: 20, restored: 4, physical: 2, mismatches: 0, unexpectedRefusals: 0 });
  const { compared, inDeclaredGap, besideSchemaChange } = verdict;
  expect(compared + inDeclaredGap + besideSchemaChange).toBe(80);
  // Who is refused most moments proves nothing. A row that changes its tenant may leave gaps; changes of columns leave none here.
  expect(compared).toBeGreaterThanOrEqual(60);
  expect(verdict.schemaChanges).toBeGreaterThan(0);
  expect(verdict.captureKills).toBeGreaterThan(0);
});
