import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { testFolder } from "@rowback/local-services/testing";
import { expect, it } from "vitest";
import { z } from "zod";

const Trace = z.object({
  traceEvents: z.array(
    z.object({ ph: z.string(), name: z.string(), args: z.looseObject({ path: z.string().optional() }) }),
  ),
});

/** The file-system calls of one put into new folders, as node's own trace tells them: `begin open /x`, `end fsync`. */
function tracedPut(root: string, traceFile: string): string[] {
  const driver = new URL("./filesystem.ts", import.meta.url).href;
  const script = `import { openFilesystemStore } from ${JSON.stringify(driver)};
    await openFilesystemStore({ root: ${JSON.stringify(root)} }).put("a/b/object", Buffer.from("x"));`;
  const trace = ["--trace-event-categories", "node.fs.async", "--trace-event-file-pattern", traceFile];
  execFileSync(process.execPath, [...trace, "--input-type=module", "--eval", script]);
  const { traceEvents } = Trace.parse(JSON.parse(readFileSync(traceFile, "utf8")));
  const phases = new Map([
    ["b", "begin"],
    ["e", "end"],
  ]);
  return traceEvents
    .filter(({ ph }) => phases.has(ph))
    .map(({ ph, name, args }) => [phases.get(ph), name, args.path].filter(Boolean).join(" "));
}

it("a put syncs its data before the rename, and the folder and every new parent before it resolves", () => {
  const folder = testFolder();
  const root = join(folder, "root");
  const calls = tracedPut(root, join(folder, "trace.json"));
  const renamed = calls.indexOf("begin rename");

  expect(renamed).toBeGreaterThan(0);
  expect(calls.indexOf("end fdatasync")).toBeGreaterThan(0);
  expect(calls.indexOf("end fdatasync")).toBeLessThan(renamed);
  const folderOpened = calls.indexOf(`begin open ${join(root, "a", "b")}`);
  expect(folderOpened).toBeGreaterThan(renamed);
  expect(calls.lastIndexOf("end fsync")).toBeGreaterThan(folderOpened);
  // Those that got a new entry: a/, a/b/, and the root itself.
  for (const parent of [folder, root, join(root, "a")]) expect(calls).toContain(`begin open ${parent}`);
  const foldersOpened = calls.filter((call) => call.startsWith("begin open ") && !/tmp\/[\da-f-]{36}$/.test(call));
  expect(calls.filter((call) => call === "end fsync").length).toBe(foldersOpened.length);
});
