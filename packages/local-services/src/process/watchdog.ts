// A process of its own that outlives a crashed starter, for as long as it takes to clean up after it.
//
// Its standard input is a pipe held open by the starter. However the starter ends (exit, uncaught error, SIGKILL, the
// out-of-memory killer), the kernel closes that pipe; this process then ends what the starter had not ended itself.
import { rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import { endGroup, processStart } from "./process-group.ts";

const groups = new Map<number, { start: string | null; signal: NodeJS.Signals }>();
const folders = new Set<string>();

function obey(line: string): void {
  const [verb, value = "", signal = "SIGTERM"] = line.split("\t");
  if (verb === "guard")
    groups.set(Number(value), { start: processStart(Number(value)), signal: signal as NodeJS.Signals });
  if (verb === "release") groups.delete(Number(value));
  if (verb === "folder") folders.add(value);
  if (verb === "release-folder") folders.delete(value);
}

async function cleanUp(): Promise<void> {
  await Promise.all(
    [...groups].map(async ([pid, { start, signal }]) => {
      // Between the crash and now the number may have been given to a stranger.
      if (start !== null && processStart(pid) !== null && processStart(pid) !== start) return;
      await endGroup(pid, signal, 5_000);
    }),
  );
  await Promise.all([...folders].map((folder) => rm(folder, { recursive: true, force: true, maxRetries: 3 })));
}

// Ctrl-C in a terminal reaches every process of the foreground; this one must be the last to go.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});

const lines = createInterface({ input: process.stdin });
lines.on("line", obey);
lines.on("close", () => {
  void cleanUp().finally(() => process.exit(0));
});
