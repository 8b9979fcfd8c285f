import { spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("./main.ts", import.meta.url));
const SHORT = ["--faults", "15", "--seed", "7", "--store", "file", "--every", "1000", "--scale", "5"];

test("fifteen faults, each of another kind, and every promise is kept", { timeout: 240_000 }, async () => {
  const chaos = spawn(process.execPath, [MAIN, ...SHORT], { stdio: ["ignore", "pipe", "pipe"] });
  const [said, log, code] = await Promise.all([
    text(chaos.stdout),
    text(chaos.stderr),
    new Promise((resolve) => chaos.once("exit", resolve)),
  ]);
  const report: unknown = JSON.parse(said.trim().split("\n").at(-1) ?? "null");
  expect(report, log).toMatchObject({ seed: 7, lost: 0, duplicated: 0, falseManifests: 0, orphans: 0, corrupt: 0 });
  expect(code).toBe(0);
});
