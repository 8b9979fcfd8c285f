import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { testFolder } from "@rowback/local-services/testing";
import { expect, onTestFinished, test, vi } from "vitest";

const MAIN = fileURLToPath(new URL("main.ts", import.meta.url));

/** A port that takes connections and never says a word: worse than one that refuses them. */
async function silentPort(): Promise<number> {
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((socket) => {
    socket.on("error", () => {});
    sockets.add(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** The API as a process of its own, with its database and Redis on that port. Resolves when it listens. */
async function startProcess(port: number): Promise<{ child: ChildProcess; url: string }> {
  const child = spawn(process.execPath, [MAIN], {
    env: {
      PATH: "",
      PORT: "0",
      DATABASE_URL: `postgres://nobody@127.0.0.1:${port}/nothing`,
      REDIS_URL: `redis://127.0.0.1:${port}`,
      STORE: `file://${testFolder()}`,
      JWT_SECRET: randomBytes(32).toString("hex"),
      ROWBACK_SECRET_KEY: randomBytes(32).toString("base64"),
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  let output = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => {
      output += chunk.toString();
    });
  const url = await vi.waitFor(
    () => {
      const found = /listening at (http:[^"]*)/.exec(output)?.[1];
      expect(found, output).toBeDefined();
      return found ?? "";
    },
    { timeout: 30_000, interval: 50 },
  );
  return { child, url };
}

test.each([
  ["refuse", async () => 1],
  ["never answer", silentPort],
])(
  "with a database and a Redis that %s from the start, it is alive at once, not ready, and ends well",
  async (_, port) => {
    const { child, url } = await startProcess(await port());
    const askedAt = performance.now();
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
    expect(performance.now() - askedAt).toBeLessThan(1_500);
    const ready = await fetch(`${url}/readyz`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toMatchObject({
      ready: false,
      dependencies: { database: { reachable: false }, redis: { reachable: false }, store: { reachable: true } },
    });
    child.kill("SIGTERM");
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
  },
);
