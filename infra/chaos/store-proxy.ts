import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, type ServerResponse, request as sendRequest } from "node:http";
import { Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { setTimeout as delay } from "node:timers/promises";

/** What a store can do to its clients. */
export interface StoreWeather {
  /** Answer every request with this status, and do nothing. */
  status: 500 | 503 | null;
  /** Do what is asked, and break the connection instead of answering. */
  losesAnswers: boolean;
  /** Milliseconds before a request is passed on. */
  delayMs: number;
  /** Break a connection when that many more bytes of bodies have passed. Once. */
  cutAfterBytes: number | null;
  /** Refuse every write with 507. */
  full: boolean;
}

export interface StoreProxy {
  readonly port: number;
  readonly weather: StoreWeather;
  calm(): void;
  close(): Promise<void>;
}

const CALM: StoreWeather = { status: null, losesAnswers: false, delayMs: 0, cutAfterBytes: null, full: false };

/** An HTTP proxy on 127.0.0.1 before an S3 server that fails on request. The host header is left alone: it is signed. */
export async function startStoreProxy(endpoint: string): Promise<StoreProxy> {
  const target = new URL(endpoint);
  const weather = { ...CALM };
  const agent = new Agent({ keepAlive: true });

  const server = createServer((incoming, answer) => {
    pass(incoming, answer).catch(() => answer.destroy());
  });

  const pass = async (incoming: IncomingMessage, answer: ServerResponse): Promise<void> => {
    if (weather.delayMs > 0) await delay(weather.delayMs);
    if (weather.status !== null) return refuse(incoming, answer, weather.status, "SlowDown");
    if (weather.full && incoming.method !== "GET" && incoming.method !== "HEAD" && incoming.method !== "DELETE")
      return refuse(incoming, answer, 507, "InsufficientStorage");
    const { losesAnswers } = weather;
    const { expect: _, ...headers } = incoming.headers;
    const { method, url: path } = incoming;
    const outgoing = sendRequest({ host: target.hostname, port: target.port, method, path, headers, agent });
    const [reply] = await Promise.all([once(outgoing, "response"), pipeline(incoming, cutting(weather), outgoing)]);
    const response: unknown = reply[0];
    if (!isIncoming(response)) throw new Error("no response");
    if (losesAnswers) {
      response.resume();
      answer.destroy();
      return;
    }
    answer.writeHead(response.statusCode ?? 500, response.headers);
    await pipeline(response, cutting(weather), answer);
  };

  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no TCP port");
  return {
    port: address.port,
    weather,
    calm: () => void Object.assign(weather, CALM),
    close: async () => {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
      agent.destroy();
    },
  };
}

function refuse(incoming: IncomingMessage, answer: ServerResponse, status: number, code: string): void {
  incoming.resume();
  answer.writeHead(status, { "content-type": "application/xml", connection: "close" });
  answer.end(
    `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>made by chaos</Message></Error>`,
  );
}

function cutting(weather: StoreWeather): Transform {
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      if (weather.cutAfterBytes === null) return done(null, chunk);
      weather.cutAfterBytes -= chunk.length;
      if (weather.cutAfterBytes > 0) return done(null, chunk);
      weather.cutAfterBytes = null;
      // The pipeline ends both sides.
      done(new Error("cut by chaos"));
    },
  });
}

function isIncoming(value: unknown): value is IncomingMessage {
  return typeof value === "object" && value !== null && "statusCode" in value && "headers" in value;
}
