import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test, vi } from "vitest";
import { type WorkerFixture, workerFixture } from "./testing/worker-fixture.ts";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));

/** A source that takes connections and never says a word: whoever asks it is busy for as long as it likes to be. */
async function silentSource(): Promise<string> {
  const server = createServer(() => {});
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const sockets = new Set<{ destroy(): void }>();
  server.on("connection", (socket) => {
    socket.on("error", () => {});
    sockets.add(socket);
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return `postgres://nobody@127.0.0.1:${address.port}/app`;
}

function startProcess(
  fixture: WorkerFixture,
  sourceUrl: string,
  graceMs: number,
): { child: ChildProcess; output: () => string } {
  const { config } = fixture;
  if (config.store.driver !== "filesystem") throw new Error("the fixture's store is a folder");
  const child = spawn(process.execPath, [MAIN], {
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

test("SIGTERM hands the running run back at no attempt's cost, and the process ends well", async () => {
  const fixture = await workerFixture("sigterm");
  const sourceUrl = await silentSource();
  const { child, output } = startProcess(fixture, sourceUrl, 100);
  const { id } = await fixture.ask({ kind: "discovery" });
  await fixture.until(id, "running");
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  expect({ code, output: output() }).toMatchObject({ code: 0 });
  expect(await fixture.run(id)).toMatchObject({ status: "queued", attempt: 0, worker: expect.any(String) });
});

test("a second signal ends the process at once", async () => {
  const fixture = await workerFixture("second-signal");
  const { child, output } = startProcess(fixture, await silentSource(), 600_000);
  const { id } = await fixture.ask({ kind: "discovery" });
  await fixture.until(id, "running");
  child.kill("SIGTERM");
  await vi.waitFor(() => expect(output()).toContain("was told to end"), { timeout: 10_000 });
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  expect(code).not.toBe(0);
});

test("an incomplete environment is named, variable by variable, and no value shown", async () => {
  const child = spawn(process.execPath, [MAIN], {
    env: { PATH: "", ROWBACK_SECRET_KEY: "not-a-key-but-secret" },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let output = "";
  child.stderr.on("data", (chunk: Buffer) => {
    output += chunk.toString();
  });
  await once(child, "exit");
  expect(output).toContain("DATABASE_URL");
  expect(output).toContain("ROWBACK_SECRET_KEY");
  expect(output).not.toContain("not-a-key-but-secret");
});
