import { connect, createServer, type Socket } from "node:net";
import { Transform } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

/** A TCP proxy on 127.0.0.1 that breaks on request: what a network does to Postgres, Redis and S3, done on purpose. */
export interface TcpProxy {
  /** Listens on 127.0.0.1. */
  port: number;
  /** `url` with its host and port replaced by the proxy's. */
  through(url: string): string;
  /** Resets every connection and refuses new ones, until `restore`. */
  cut(): void;
  /** Accepts connections and passes nothing on, in both directions, until `restore`; what was sent meanwhile is passed on then. */
  blackhole(): void;
  /** Delays each piece of up to 64 KiB by `ms` milliseconds, in both directions. 0 ends it. */
  latency(ms: number): void;
  /** Resets the connection on which the server's answers, counted over all connections from now, reach `bytes`. Once. */
  resetAfter(bytes: number): void;
  /** Passes everything on again. */
  restore(): void;
  /** Connections open at the moment. */
  readonly connections: number;
  close(): Promise<void>;
}

interface Weather {
  refusing: boolean;
  /** Settled when traffic may pass. */
  open: Promise<void>;
  latencyMs: number;
  /** Bytes of answers left until a reset; null: none is planned. */
  resetIn: number | null;
}

function throughWeather(weather: Weather, reset: (() => void) | null): Transform {
  return new Transform({
    async transform(chunk: Buffer, _encoding, done) {
      await weather.open;
      if (weather.latencyMs > 0) await delay(weather.latencyMs);
      if (reset !== null && weather.resetIn !== null) {
        weather.resetIn -= chunk.length;
        if (weather.resetIn <= 0) {
          weather.resetIn = null;
          reset();
          return;
        }
      }
      done(null, chunk);
    },
  });
}

/** Starts a proxy to `target`. It passes everything on until told otherwise. The caller must `close` it. */
export async function startTcpProxy(target: { host?: string; port: number }): Promise<TcpProxy> {
  const weather: Weather = { refusing: false, open: Promise.resolve(), latencyMs: 0, resetIn: null };
  const pairs = new Set<() => void>();
  let letPass = (): void => {};

  // Half-open, as a network is: who ends its own side of a silent connection hears of nobody who has ended the other.
  const server = createServer({ allowHalfOpen: true }, (client: Socket) => {
    if (weather.refusing) {
      client.resetAndDestroy();
      return;
    }
    const upstream = connect({ host: target.host ?? "127.0.0.1", port: target.port });
    const reset = (): void => {
      client.resetAndDestroy();
      upstream.destroy();
      pairs.delete(reset);
    };
    pairs.add(reset);
    for (const socket of [client, upstream]) {
      socket.setNoDelay(true);
      socket.on("error", reset);
    }
    client.on("close", reset);
    upstream.on("close", () => {
      // What the server said last may still be on its way through the weather.
      if (!client.writableEnded && !client.destroyed)
        void weather.open.then(() => delay(weather.latencyMs)).then(reset);
    });
    client.pipe(throughWeather(weather, null)).pipe(upstream);
    upstream.pipe(throughWeather(weather, reset)).pipe(client);
  });

  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen({ host: "127.0.0.1", port: 0 }, resolve);
  await promise;
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the proxy has no TCP port");
  const { port } = address;

  return {
    port,
    through(url) {
      const changed = new URL(url);
      changed.hostname = "127.0.0.1";
      changed.port = String(port);
      return changed.href;
    },
    cut() {
      weather.refusing = true;
      for (const reset of pairs) reset();
    },
    blackhole() {
      const { promise: open, resolve: release } = Promise.withResolvers<void>();
      weather.open = open;
      letPass = release;
    },
    latency(ms) {
      weather.latencyMs = ms;
    },
    resetAfter(bytes) {
      weather.resetIn = bytes;
    },
    restore() {
      weather.refusing = false;
      weather.latencyMs = 0;
      weather.resetIn = null;
      letPass();
      weather.open = Promise.resolve();
    },
    get connections() {
      return pairs.size;
    },
    async close() {
      letPass();
      const closed = new Promise<void>((done) => server.close(() => done()));
      for (const reset of pairs) reset();
      await closed;
    },
  };
}
