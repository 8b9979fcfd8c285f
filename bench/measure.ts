import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";

/** What infra/docker/worker.Dockerfile starts node with. */
export const WORKER_FLAGS = ["--initial-old-space-size=64"] as const;

/** The middle one; of an even number the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(middle) - 1], sorted[Math.floor(middle)]];
  if (low === undefined || high === undefined) throw new RangeError("no values");
  return (low + high) / 2;
}

/** Runs `fn` and returns how long it took, in seconds. */
export async function seconds(fn: () => Promise<unknown>): Promise<number> {
  const startedAt = performance.now();
  await fn();
  return (performance.now() - startedAt) / 1000;
}

/**
 * Runs every contender once a round, so that a busy moment of the machine meets all of them alike. Each returns its figure
 * (seconds, mostly); the result gives a contender's median. A first round warms caches and is not counted.
 */
export async function inTurns<Name extends string>(
  rounds: number,
  contenders: Readonly<Record<Name, () => Promise<number>>>,
): Promise<(name: Name) => number> {
  const figures = new Map<string, number[]>();
  for (let round = 0; round <= rounds; round += 1) {
    for (const [name, contender] of Object.entries<() => Promise<number>>(contenders)) {
      const figure = await contender();
      console.log(`${round === 0 ? "warm-up" : `round ${round}`}: ${name} ${figure.toFixed(3)}`);
      if (round > 0) figures.set(name, [...(figures.get(name) ?? []), figure]);
    }
  }
  return (name) => median(figures.get(name) ?? []);
}

/** Runs a program to its end; its output goes nowhere unless `stdout` asks for it. Rejects with what it said on a failure. */
export async function run(
  command: string,
  args: readonly string[],
  options: { readonly env?: Readonly<Record<string, string>>; readonly input?: string } = {},
): Promise<string> {
  const child = spawn(command, args, { env: { ...process.env, ...options.env }, stdio: ["pipe", "pipe", "pipe"] });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
  child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
  // A program that ends without reading it says so by its exit code, if that is a failure.
  child.stdin.on("error", () => {});
  child.stdin.end(options.input ?? "");
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (code !== 0) throw new Error(`${command} ended with ${code}: ${Buffer.concat(err).toString()}`);
  return Buffer.concat(out).toString();
}

/** The most memory this process ever had at once, in MiB: `VmHWM` of proc(5). */
export async function peakRssMib(): Promise<number> {
  const status = await readFile("/proc/self/status", "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? Number.NaN) / 1024;
}

/** A ratio with three digits. */
export function ratio(a: number, b: number): number {
  return Number((a / b).toFixed(3));
}

/** The bench's last line. */
export function report(figures: Readonly<Record<string, number | string | null>>): void {
  console.log(JSON.stringify(figures));
}
