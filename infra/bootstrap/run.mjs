// What every root script goes through: `node infra/bootstrap/run.mjs <task> [arguments]`.
// Plain JavaScript without dependencies, for whatever node ≥ 18 is on the machine: installs what is missing, then runs the
// task with the node 24 of node_modules.
import { spawn } from "node:child_process";
import { delimiter, join } from "node:path";
import { BIN, install, NODE, ROOT } from "./install.mjs";
import { TASKS, UsageError } from "./tasks.mjs";

/** npm and a terminal may each deliver the same Ctrl-C; a program takes a second one to mean "at once". */
const SAME_KEYSTROKE_MS = 1_000;

/** Runs the command to its end, handing on signals, and resolves with its exit code. */
function execute([command, ...args]) {
  const child = spawn(command === "node" ? NODE : join(BIN, command), args, {
    cwd: ROOT,
    stdio: "inherit",
    env: { ...process.env, PATH: `${BIN}${delimiter}${process.env.PATH ?? ""}`, TURBO_TELEMETRY_DISABLED: "1" },
  });
  let lastSignal = 0;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) {
    process.on(signal, () => {
      const now = Date.now();
      const repeated = now - lastSignal < SAME_KEYSTROKE_MS;
      lastSignal = now;
      // A terminal sends Ctrl-C to every process of the foreground itself, the child among them.
      const fromTerminal = signal === "SIGINT" && process.stdin.isTTY;
      if (!fromTerminal && !repeated) child.kill(signal);
    });
  }
  return new Promise((resolve) => {
    child.on("error", (error) => {
      console.error(`${command} could not be started: ${error.message}`);
      resolve(127);
    });
    child.on("exit", (code, signal) => resolve(code ?? (signal === "SIGINT" ? 130 : 143)));
  });
}

const [task = "", ...args] = process.argv.slice(2);
try {
  const build = TASKS[task];
  if (build === undefined)
    throw new UsageError(`There is no task "${task}". There are: ${Object.keys(TASKS).join(", ")}.`);
  const command = build(args);
  await install();
  process.exitCode = await execute(command);
} catch (error) {
  console.error(error instanceof UsageError ? error.message : error);
  process.exitCode = 1;
}
