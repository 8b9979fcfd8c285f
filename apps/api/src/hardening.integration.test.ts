import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";

// On real sockets: what `app.inject` calls never meets Node's HTTP server.

const BODY_LIMIT = 64 * 1024;
let api: TestApi;
let tenant: TestTenant;
let port: number;
const sockets = new Set<Socket>();

beforeAll(async () => {
  api = await startTestApi((deps) => ({
    ...deps,
    settings: { ...deps.settings, requestTimeoutMs: 1_000, idleTimeoutMs: 2_000, bodyLimitBytes: BODY_LIMIT },
  }));
  tenant = await api.tenant();
  port = Number(new URL(await api.app.listen({ host: "127.0.0.1", port: 0 })).port);
});
afterEach(() => {
  for (const socket of sockets) socket.destroy();
  sockets.clear();
});
afterAll(() => api.close());

interface Client {
  readonly socket: Socket;
  /** What came back so far. */
  received(): string;
  isClosed(): boolean;
}

async function client(firstBytes = "", to = port): Promise<Client> {
  const socket = connect({ host: "127.0.0.1", port: to });
  sockets.add(socket);
  let received = "";
  let closed = false;
  socket.on("data", (chunk) => {
    received += chunk.toString("latin1");
  });
  socket.on("close", () => {
    closed = true;
  });
  socket.on("error", () => {});
  await once(socket, "connect");
  socket.write(firstBytes);
  return { socket, received: () => received, isClosed: () => closed };
}

/** Sends a byte every 50 ms, for as long as there is somebody to take it. */
function trickle({ socket }: Client, byte: string): void {
  const timer = setInterval(() => socket.write(byte), 50);
  socket.on("close", () => clearInterval(timer));
}

const untilClosed = (clients: readonly Client[]) =>
  vi.waitFor(() => expect(clients.filter((each) => !each.isClosed())).toEqual([]), { timeout: 20_000, interval: 20 });

const authorization = () => `authorization: Bearer ${api.token(tenant.owner)}\r\n`;
const post = (headers: string) =>
  `POST /v1/backups HTTP/1.1\r\nhost: x\r\n${authorization()}content-type: application/json\r\n${headers}\r\n`;

describe("a client that holds a socket", () => {
  test.each([
    ["sends nothing at all", () => "", null],
    ["trickles its headers", () => "GET /v1/backups HTTP/1.1\r\nhost: x\r\nx-slow: ", "a"],
    ["trickles its body", () => post("content-length: 60000\r\n"), " "],
    ["trickles chunks", () => post("transfer-encoding: chunked\r\n"), "1\r\n \r\n"],
    ["sends half a request line", () => "GET /v1/back", null],
    ["announces a body that never comes", () => post("content-length: 100\r\n"), null],
  ])("and %s is cut off, many at once, and nobody else waits for it", async (_, firstBytes, byte) => {
    const clients = await Promise.all(Array.from({ length: 100 }, () => client(firstBytes())));
    if (byte !== null) for (const each of clients) trickle(each, byte);
    const answer = await fetch(`http://127.0.0.1:${port}/v1/backups`, {
      headers: { authorization: `Bearer ${api.token(tenant.owner)}` },
    });
    expect(answer.status).toBe(200);
    expect(clients.some((each) => each.isClosed())).toBe(false);
    await untilClosed(clients);
    for (const each of clients) expect(each.received()).toMatch(/^(HTTP\/1\.1 408 |$)/);
  });

  test("and never reads its answers is cut off", async () => {
    // With time enough for requests, so that it is not their time-out that ends it.
    const patient = await startTestApi((deps) => ({ ...deps, settings: { ...deps.settings, idleTimeoutMs: 2_000 } }));
    onTestFinished(() => patient.close());
    const accepted = new Promise<Socket>((resolve) => patient.app.server.once("connection", resolve));
    const url = new URL(await patient.app.listen({ host: "127.0.0.1", port: 0 }));
    const reader = await client("", Number(url.port));
    reader.socket.pause();
    // More than any kernel's buffers take.
    const request = "GET /docs/static/swagger-ui-bundle.js HTTP/1.1\r\nhost: x\r\n\r\n";
    for (let n = 0; n < 60; n += 1) reader.socket.write(request);
    const ours = await accepted;
    await vi.waitFor(() => expect(ours.bytesWritten).toBeGreaterThan(100_000), { timeout: 10_000, interval: 20 });
    expect(ours.destroyed).toBe(false);
    await vi.waitFor(() => expect(ours.destroyed).toBe(true), { timeout: 20_000, interval: 20 });
  });
});

describe("a request that is too large or makes no sense is refused at the door", () => {
  const answerTo = async (text: string): Promise<string> => {
    const sender = await client(text);
    await vi.waitFor(() => expect(sender.received()).toContain("\r\n\r\n"), { timeout: 10_000, interval: 10 });
    return sender.received();
  };

  test("a body beyond the limit, announced", async () => {
    expect(await answerTo(post(`content-length: ${BODY_LIMIT + 1}\r\n`))).toMatch(
      /^HTTP\/1\.1 413 .*payload_too_large/s,
    );
  });

  test("a body beyond the limit, in chunks without an announcement", async () => {
    const chunk = `4000\r\n${" ".repeat(0x4000)}\r\n`;
    expect(await answerTo(`${post("transfer-encoding: chunked\r\n")}${chunk.repeat(6)}`)).toMatch(/^HTTP\/1\.1 413 /);
  });

  test("headers beyond 16 KiB", async () => {
    expect(await answerTo(`GET / HTTP/1.1\r\nhost: x\r\nx-much: ${"x".repeat(20_000)}\r\n\r\n`)).toMatch(
      /^HTTP\/1\.1 431 /,
    );
  });

  test.each([
    ["two lengths (request smuggling)", () => post("content-length: 2\r\ntransfer-encoding: chunked\r\n")],
    ["a length that is none", () => post("content-length: 2x\r\n")],
    ["no HTTP", () => "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
    ["a header with a bare line feed", () => "GET /healthz HTTP/1.1\r\nhost: x\r\nx-a: b\nc: d\x00\r\n\r\n"],
  ])("%s", async (_, text) => {
    const answer = await answerTo(text());
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).not.toMatch(/node:|\.ts:|\.js:|at /);
  });
});

describe("every answer", () => {
  const PATHS = ["/healthz", "/v1/backups", "/no/such/route", "/docs", "/admin/session", "/v1/backups/%00"];

  test.each(PATHS)("of %s has the headers that keep a browser safe", async (path) => {
    const { headers } = await fetch(`http://127.0.0.1:${port}${path}`, { redirect: "manual" });
    expect(headers.get("x-content-type-options")).toBe("nosniff");
    expect(headers.get("x-frame-options")).toBe("SAMEORIGIN");
    expect(headers.get("content-security-policy")).toMatch(/default-src 'self'.*object-src 'none'.*script-src 'self'/);
    expect(headers.get("strict-transport-security")).toMatch(/max-age=\d{7,}/);
    expect(headers.get("referrer-policy")).toBe("same-origin");
    expect(headers.get("x-powered-by")).toBeNull();
  });

  test.each([
    ["https://console.example.com", "https://console.example.com"],
    ["https://console.example.com.evil.example", null],
    ["https://evil.example", null],
    ["http://console.example.com", null],
    ["null", null],
  ])("to a page of %s: allowed origin is %s, and never with cookies", async (origin, allowed) => {
    for (const method of ["OPTIONS", "GET"]) {
      const { headers } = await fetch(`http://127.0.0.1:${port}/v1/backups`, {
        method,
        headers: {
          origin,
          "access-control-request-method": "DELETE",
          "access-control-request-headers": "authorization",
        },
      });
      expect(headers.get("access-control-allow-origin")).toBe(allowed);
      expect(headers.get("access-control-allow-credentials")).toBeNull();
    }
  });
});
