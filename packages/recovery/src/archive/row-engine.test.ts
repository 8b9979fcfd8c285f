import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { compileRowEngine } from "./compile-row-engine.ts";

test("the committed binary is what its source says", async () => {
  const source = readFileSync(new URL("./row-engine.wat", import.meta.url), "utf8");
  const binary = readFileSync(new URL("./row-engine.wasm", import.meta.url));
  expect(Buffer.compare(binary, await compileRowEngine(source)), "run `node build-row-engine.ts`").toBe(0);
});
