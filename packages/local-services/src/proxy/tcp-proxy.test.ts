import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

let echo: Server;
let proxy: TcpProxy;

beforeEach(async () => {
  echo = createServer((socket) => void socket.on("error", () => {}).pipe(socket));
  echo.listen(0, "127.0.0.1");
  await once(echo, "listening");
  const address = echo.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  proxy = await startTcpProxy({ port: address.port });
});

afterEach(async () => {
  await proxy.close();
  echo.close();
});

interface Line {
  socket: Socket;
  received(): string;
  error(): string | null;
}

async function dial(): Promise<Line> {
  const socket = connect(proxy.port, "127.0.0.1");
  let text = "";
  let code: string | null = null;
  socket.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  socket.on("error", (error: NodeJS.ErrnoException) => {
    code = error.code ?? error.message;
  });
  await once(socket, "connect");
  return { socket, received: () => text, error: () => code };
}

it("passes everything on, in order, and says how a URL goes through it", async () => {
  const line = await dial();
  const text = Array.from({ length: 20_000 }, (_, index) => `${index} `).join("");
  line.socket.write(text);
  await vi.waitFor(() => expect(line.received()).toBe(text));
  expect(proxy.connections).toBe(1);
  expect(proxy.through("redis://example.com:1/3")).toBe(`redis://127.0.0.1:${proxy.port}/3`);
  line.socket.end();
  await vi.waitFor(() => expect(proxy.connections).toBe(0));
});

it("resets what is open when cut, refuses what is new, and serves again when restored", async () => {
  const line = await dial();
  proxy.cut();
  await vi.waitFor(() => expect(line.error()).toBe("ECONNRESET"));
  const [refusal] = await once(connect(proxy.port, "127.0.0.1"), "error");
  expect(refusal).toMatchObject({ code: "ECONNRESET" });
  proxy.restore();
  const again = await dial();
  again.socket.write("back");
  await vi.waitFor(() => expect(again.received()).toBe("back"));
});

it("keeps back what a black hole swallowed, until restored", async () => {
  proxy.blackhole();
  const line = await dial();
  line.socket.write("late");
  const other = await dial();
  expect(line.received()).toBe("");
  expect(other.error()).toBeNull();
  proxy.restore();
  await vi.waitFor(() => expect(line.received()).toBe("late"));
});

it("delays both directions by the latency", async () => {
  proxy.latency(40);
  const line = await dial();
  const sent = performance.now();
  line.socket.write("slow");
  await vi.waitFor(() => expect(line.received()).toBe("slow"), { interval: 5 });
  expect(performance.now() - sent).toBeGreaterThanOrEqual(79);
});

it("resets once after so many bytes of answers, in the middle of one", async () => {
  proxy.resetAfter(10_000);
  const line = await dial();
  line.socket.write("x".repeat(9_999));
  await vi.waitFor(() => expect(line.received()).toHaveLength(9_999));
  line.socket.write("yz");
  await vi.waitFor(() => expect(line.error()).toBe("ECONNRESET"));
  expect(line.received()).not.toContain("z");
  const next = await dial();
  next.socket.write("fine");
  await vi.waitFor(() => expect(next.received()).toBe("fine"));
});
