import { setTimeout as delay } from "node:timers/promises";
import { type Program, startProgram } from "@rowback/local-services";

/** One process of the system, started again whenever it ends, as a container platform does. */
export interface SupervisedProcess {
  readonly name: string;
  /** How often it was started. */
  readonly starts: number;
  /** Sends the signal to the process that runs at the moment, if one does. */
  signal(signal: "SIGKILL" | "SIGTERM" | "SIGSTOP" | "SIGCONT"): void;
  /** Ends it for good. */
  stop(): Promise<void>;
}

const RESTART_AFTER_MS = 200;
// A worker's grace and what comes after it, with room for a busy machine.
const STOP_MS = 20_000;

/** Starts `script` with this node, and again after every end. */
export function supervise(options: {
  readonly name: string;
  readonly script: string;
  readonly env: NodeJS.ProcessEnv;
  readonly logFile: string;
}): SupervisedProcess {
  let stopping = false;
  let starts = 0;
  let running: Program | null = null;

  const keepRunning = async (): Promise<void> => {
    while (!stopping) {
      running = startProgram(process.execPath, [options.script], options.env, { logFile: options.logFile });
      starts += 1;
      await running.exited;
      // Ends what it may have started itself, and the guard over it.
      await running.stop(0);
      running = null;
      await delay(RESTART_AFTER_MS);
    }
  };
  const kept = keepRunning();

  const signal = (name: NodeJS.Signals): void => {
    if (running === null) return;
    try {
      process.kill(running.pid, name);
    } catch {
      // It has just ended.
    }
  };
  return {
    name: options.name,
    get starts() {
      return starts;
    },
    signal,
    stop: async () => {
      stopping = true;
      signal("SIGCONT");
      await running?.stop(STOP_MS);
      await kept;
    },
  };
}
