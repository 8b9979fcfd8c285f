import { execFileSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { expect, it } from "vitest";

const ROOT = new URL("../../", import.meta.url);

it("is complete, so that `npm ci` takes it on every system (else: node infra/bootstrap/complete-lock-file.mjs)", () => {
  const module = new URL("./lock-file.mjs", import.meta.url).href;
  const script = `import { missingEntries } from ${JSON.stringify(module)};
    import { readFileSync } from "node:fs";
    const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
    console.log(JSON.stringify(missingEntries(lock).map((entry) => entry.name)));`;
  const output = execFileSync(process.execPath, ["--input-type=module", "-e", script], { cwd: ROOT, encoding: "utf8" });
  expect(JSON.parse(output)).toEqual([]);
});

it("has workspaces that name every version exactly", () => {
  const manifests = globSync(["package.json", "{apps,packages,infra}/*/package.json", "bench/package.json"], {
    cwd: ROOT,
  });
  expect(manifests.length).toBeGreaterThan(8);
  const loose = manifests.filter((path) =>
    /": "[\^~*>]/.test(readFileSync(new URL(path, ROOT), "utf8").replace(/"engines": \{[^}]*\}/, "")),
  );
  expect(loose).toEqual([]);
});
