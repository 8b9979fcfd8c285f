import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./install.mjs";

/** Said to the user as it is, without a stack. */
export class UsageError extends Error {}

const CHECKS = ["check:types", "check:lint", "check:imports", "check:unused"];

/** A benchmark is a program, a file of bench/ that exports nothing; the others are what benchmarks share. */
function benchmarks() {
  const folder = join(ROOT, "bench");
  return readdirSync(folder)
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .filter((file) => !/^export /m.test(readFileSync(join(folder, file), "utf8")))
    .map((file) => file.slice(0, -".ts".length));
}

function bench([name = "", ...args]) {
  const names = benchmarks();
  if (!names.includes(name))
    throw new UsageError(`npm run bench -- <name>, where <name> is one of: ${names.join(", ")}`);
  // As workers are started, infra/docker/worker.Dockerfile.
  return ["node", "--initial-old-space-size=64", "--expose-gc", `bench/${name}.ts`, ...args];
}

/** A task's name → its command line, given the arguments behind the name. `node` stands for the node 24 of node_modules. */
export const TASKS = {
  demo: (args) => ["node", "infra/demo/main.ts", ...args],
  dev: (args) => ["node", "infra/dev/main.ts", ...args],
  test: (args) => ["vitest", "run", ...args],
  "test:unit": (args) => ["vitest", "run", "--project", "unit", ...args],
  "test:oracle": (args) => ["node", "infra/oracle/main.ts", ...args],
  bench,
  chaos: (args) => ["node", "infra/chaos/main.ts", ...args],
  check: (args) => ["turbo", "run", ...CHECKS, "--continue=always", "--ui=stream", "--log-order=grouped", ...args],
  operator: (args) => ["node", "packages/db/src/operator-main.ts", ...args],
  "audit:verify": (args) => ["node", "packages/db/src/audit-verify-main.ts", ...args],
  "keys:rotate": (args) => ["node", "apps/worker/src/keys-main.ts", "rotate", ...args],
  "keys:list": (args) => ["node", "apps/worker/src/keys-main.ts", "list", ...args],
  migrate: (args) => ["node", "packages/db/src/migrate-main.ts", ...args],
};
