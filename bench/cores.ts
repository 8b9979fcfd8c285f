import { readFile } from "node:fs/promises";
import { run } from "./measure.ts";

/** Lets a process, its threads and its children run on these cores alone (`taskset`'s list: `0`, `1-3`), and what they start. */
export async function confine(pid: number, cores: string): Promise<void> {
  const children = (await readFile(`/proc/${pid}/task/${pid}/children`, "utf8")).split(" ").filter(Boolean);
  for (const one of [String(pid), ...children]) await run("taskset", ["-a", "-p", "-c", cores, one]);
}
