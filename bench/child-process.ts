import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { z } from "zod";

const Reply = z.union([z.object({ done: z.unknown() }), z.object({ failed: z.string() })]);

/** A program of bench/processes that does one thing again and again, in a process of its own. */
export interface Child {
  readonly pid: number;
  /** Resolves with what the program answers; rejects with what it threw, or when it ends. */
  ask<T>(order: object, answer: z.ZodType<T>): Promise<T>;
  /** Ends the process, after what it is doing. */
  stop(): Promise<void>;
}

/** Starts `bench/processes/<name>.ts`. Secrets travel in the environment or the orders, not in arguments. Ends with this process. */
export function startChild(name: string, env: Readonly<Record<string, string>> = {}): Child {
  const child = fork(new URL(`./processes/${name}.ts`, import.meta.url), { env: { ...process.env, ...env } });
  const { pid } = child;
  if (pid === undefined) throw new Error(`${name} can't be started`);
  return {
    pid,
    ask: async (order, answer) => {
      const reply = Reply.parse(await roundTrip(child, name, order));
      if ("failed" in reply) throw new Error(`${name}: ${reply.failed}`);
      return answer.parse(reply.done);
    },
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.disconnect();
      await exited;
    },
  };
}

/** For the child: does what it is asked, one order at a time, until its parent lets go of it; then `close`. */
export function serveParent<T>(
  order: z.ZodType<T>,
  fn: (order: T) => Promise<unknown>,
  close: () => Promise<void>,
): void {
  process.on("message", (message) => {
    fn(order.parse(message)).then(
      (done) => process.send?.({ done: done ?? null }),
      (error: unknown) =>
        process.send?.({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
    );
  });
  process.once("disconnect", () => {
    void close().finally(() => process.exit());
  });
}

function roundTrip(child: ChildProcess, name: string, order: object): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`${name} ended with ${code}`));
    child.once("exit", onExit);
    child.once("message", (message) => {
      child.off("exit", onExit);
      resolve(message);
    });
    child.send(order);
  });
}
