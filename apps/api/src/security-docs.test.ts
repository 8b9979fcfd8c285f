import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = new URL("../../../", import.meta.url);
const text = readFileSync(new URL("docs/SECURITY.md", ROOT), "utf8");

test("every test that docs/SECURITY.md names is there", () => {
  const named = [...text.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, path = ""]) => path);
  expect(named.length).toBeGreaterThan(30);
  expect([...new Set(named)].filter((path) => !existsSync(fileURLToPath(new URL(path, ROOT))))).toEqual([]);
});

test("every actor of docs/SECURITY.md has a test beside it", () => {
  const rows = text.split("\n").filter((line) => line.startsWith("| **"));
  expect(rows.length).toBeGreaterThan(15);
  expect(rows.filter((row) => !row.includes(".test.ts`"))).toEqual([]);
});
