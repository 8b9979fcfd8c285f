import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { guardGroup, releaseGroup } from "./guard.ts";
import { endGroup } from "./process-group.ts";

export interface ServiceCommand {
  /** For messages: "PostgreSQL", "Redis". */
  name: string;
  command: string;
  args: readonly string[];
  /** argv[0], where the program looks at its own name. */
  argv0?: string;
  env?: Record<string, string>;
  uid?: number;
  gid?: number;
  cwd?: string;
  /** Everything the service prints goes here: a pipe would break, and could block the service, when this process dies. */
  logFile: string;
  stopSignal: NodeJS.Signals;
  /** Milliseconds between the stop signal and SIGKILL; 10 s unless told. */
  stopTimeoutMs?: number;
  /** Resolves when the service answers; throws while it does not. Asked again and again. */
  ready: () => Promise<void>;
  /** Milliseconds until a start that isn't ready counts as failed. */
  startTimeoutMs: number;
}

export interface ServiceProcess {
  pid: number;
  /** Asks the service to stop, waits, kills what does not. Idempotent. */
  stop(): Promise<void>;
}

export class ServiceStartError extends Error {
  readonly log: string;
  constructor(message: string, log: string) {
    super(log === "" ? message : `${message}\n${log}`);
    this.name = "ServiceStartError";
    this.log = log;
  }
}

function tail(file: string): string {
  try {
    return readFileSync(file, "utf8").trim().split("\n").slice(-20).join("\n");
  } catch {
    return "";
  }
}

async function untilReady(child: ChildProcess, service: ServiceCommand): Promise<void> {
  let failure: Error | null = null;
  child.once("error", (error) => {
    failure = error;
  });
  const deadline = Date.now() + service.startTimeoutMs;
  for (;;) {
    if (failure !== null) throw failure;
    if (child.exitCode !== null || child.signalCode !== null) {
      throw new Error(`ended with ${child.signalCode ?? `exit code ${child.exitCode}`} before it was ready`);
    }
    try {
      return await service.ready();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`not ready after ${service.startTimeoutMs} ms: ${String(error)}`);
    }
    await delay(20);
  }
}

/**
 * Starts a service in a process group of its own (Ctrl-C in a terminal doesn't reach it: its starter decides), guarded
 * by the watchdog, and waits until it is ready. Throws ServiceStartError with the end of its log.
 */
export async function startServiceProcess(service: ServiceCommand): Promise<ServiceProcess> {
  const log = openSync(service.logFile, "a");
  const child = spawn(service.command, [...service.args], {
    detached: true,
    stdio: ["ignore", log, log],
    ...(service.argv0 === undefined ? {} : { argv0: service.argv0 }),
    ...(service.uid === undefined ? {} : { uid: service.uid }),
    ...(service.gid === undefined ? {} : { gid: service.gid }),
    ...(service.cwd === undefined ? {} : { cwd: service.cwd }),
    env: { PATH: process.env["PATH"] ?? "", ...service.env },
  });
  closeSync(log);
  child.unref();
  const { pid } = child;
  if (pid !== undefined) guardGroup(pid, service.stopSignal);
  const stop = async (): Promise<void> => {
    if (pid === undefined) return;
    await endGroup(pid, service.stopSignal, service.stopTimeoutMs ?? 10_000);
    releaseGroup(pid);
  };
  try {
    await untilReady(child, service);
  } catch (error) {
    await stop();
    const reason = error instanceof Error ? error.message : String(error);
    throw new ServiceStartError(`${service.name} did not start: ${reason}`, tail(service.logFile));
  }
  if (pid === undefined) throw new ServiceStartError(`${service.name} did not start`, "");
  return { pid, stop };
}
