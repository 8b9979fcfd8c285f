import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { expect, onTestFinished, test, vi } from "vitest";
import { workerFixture } from "./testing/worker-fixture.ts";
import { startWorkerProcess, WORKER_MAIN } from "./testing/worker-process.ts";

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

test("SIGTERM hands the running run back at no attempt's cost, and the process ends well", async () => {
  const fixture = await workerFixture("sigterm");
  const sourceUrl = await silentSource();
  const { child, output } = startWorkerProcess(fixture, { sourceUrl, graceMs: 100 });
  const { id } = await fixture.ask({ kind: "discovery" });
  await fixture.until(id, "running");
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  expect({ code, output: output() }).toMatchObject({ code: 0 });
  expect(await fixture.run(id)).toMatchObject({ status: "queued", attempt: 0, worker: expect.any(String) });
});

test("a second signal ends the process at once", async () => {
  const fixture = await workerFixture("second-signal");
  const { child, output } = startWorkerProcess(fixture, { sourceUrl: await silentSource(), graceMs: 600_000 });
  const { id } = await fixture.ask({ kind: "discovery" });
  await fixture.until(id, "running");
  child.kill("SIGTERM");
  await vi.waitFor(() => expect(output()).toContain("was told to end"), { timeout: 10_000 });
  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  expect(code).not.toBe(0);
});

test("an incomplete environment is named, variable by variable, and no value shown", async () => {
  const child = spawn(process.execPath, [WORKER_MAIN], {
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
