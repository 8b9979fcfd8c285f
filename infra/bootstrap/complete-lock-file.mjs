// node infra/bootstrap/complete-lock-file.mjs
// npm leaves binaries of other systems out of the lock file when the registry in use doesn't hold them; `npm ci` refuses
// such a file. This puts them back: their parents name them by exact version.
import { readFileSync, writeFileSync } from "node:fs";
import { missingEntries } from "./lock-file.mjs";

const FILE = new URL("../../package-lock.json", import.meta.url);
const OS = { windows: "win32" };
const CPU = { 64: "x64" };

const lock = JSON.parse(readFileSync(FILE, "utf8"));
for (const { name, version, parent } of missingEntries(lock)) {
  const [, system, processor] = /(android|darwin|linux|win32|windows|freebsd|openharmony)-(\w+)/.exec(name) ?? [];
  if (system === undefined || !/^\d+\.\d+\.\d+/.test(version))
    throw new Error(`${name}@${version} of ${parent} can't be completed`);
  lock.packages[`node_modules/${name}`] = {
    version,
    cpu: [CPU[processor] ?? processor],
    ...(lock.packages[parent].dev ? { dev: true } : {}),
    ...(name.includes("musl") ? { libc: ["musl"] } : {}),
    optional: true,
    os: [OS[system] ?? system],
  };
  console.log(`added ${name}@${version}`);
}
const byPath = ([a], [b]) => a.localeCompare(b, "en");
lock.packages = Object.fromEntries(Object.entries(lock.packages).sort(byPath));
writeFileSync(FILE, `${JSON.stringify(lock, null, 2)}\n`);
