import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import type { WorkerFixture } from "./worker-fixture.ts";

export const WORKER_MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));

/** Starts `main.ts` as a process of its own, on the fixture's services; it is killed with the test. */
export function startWorkerProcess(
  fixture: WorkerFixture,
  { sourceUrl, graceMs }: { readonly sourceUrl: string; readonly graceMs: number },
): { child: ChildProcess; output: () => string } {
  const { config } = fixture;
  if (config.store.driver !== "filesystem") throw new Error("the fixture's store is a folder");
  const child = spawn(process.execPath, [WORKER_MAIN], {
    env: {
      PATH: "",
      DATABASE_URL: config.databaseUrl,
      REDIS_URL: config.redisUrl,
      QUEUE_PREFIX: config.queuePrefix,
      STORE: `file://${config.store.root}`,
      ROWBACK_SECRET_KEY: config.secretKey.toString("base64"),
      METRICS_PORT: "0",
      SHUTDOWN_GRACE_MS: String(graceMs),
      SOURCE_URL: sourceUrl,
      CAPTURE_SEGMENT_SECONDS: String(config.capture.segment.ms / 1_000),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  return { child, output: () => output };
}
