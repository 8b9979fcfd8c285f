import { CatalogCache, type Covered, captureChanges, openSource } from "@rowback/recovery";
import { openStore } from "@rowback/storage";
import { z } from "zod";
import { serveParent } from "../child-process.ts";
import { peakRssMib } from "../measure.ts";

/** One capture in a process of its own, whose log keeps its place in memory. */
const Order = z.union([
  z.object({
    start: z.object({
      url: z.string(),
      root: z.string(),
      sourceId: z.uuid(),
      slotName: z.string(),
      publicationName: z.string(),
      coveredLsn: z.string(),
      segmentMs: z.number(),
    }),
  }),
  z.object({ stop: z.literal(true) }),
  z.object({ until: z.string() }),
]);

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
let running: { abort: AbortController; ended: Promise<unknown> } | null = null;
let covered: Covered = { lsn: "", at: 0n };
let changes = 0;
let segments = 0;
let storedBytes = 0;
let lags: number[] = [];
let durableLags: number[] = [];
let waiting: number[] = [];

function start(order: Extract<z.infer<typeof Order>, { start: unknown }>["start"]): void {
  const abort = new AbortController();
  const source = openSource({
    id: order.sourceId,
    connectionString: order.url,
    tenancy: { mode: "column", column: "tenant_id" },
    rules: [],
    maxConnections: 2,
  });
  const store = openStore({ driver: "filesystem", root: order.root });
  covered = { lsn: order.coveredLsn, at: 0n };
  [changes, segments, storedBytes, lags, durableLags, waiting] = [0, 0, 0, [], [], []];
  const ended = captureChanges(
    { store, source, catalogCache: new CatalogCache(), log: silent, signal: abort.signal },
    {
      epoch: 1,
      slotName: order.slotName,
      publicationName: order.publicationName,
      covered,
      limits: { bytes: 16 * 1_048_576, ms: order.segmentMs },
      onCommit: (at) => {
        lags.push(Date.now() - Number(at / 1_000n));
        waiting.push(Number(at / 1_000n));
      },
      target: {
        publish: async (written, now) => {
          covered = now;
          for (const { index, bytes } of written) {
            changes += index.changes;
            segments += 1;
            storedBytes += bytes;
          }
          const known = Number(now.at / 1_000n) + 1_000;
          durableLags.push(...waiting.filter((at) => at <= known).map((at) => Date.now() - at));
          waiting = waiting.filter((at) => at > known);
        },
        declare: async () => {},
        rememberedTables: async () => null,
        rememberTables: async () => {},
      },
    },
  )
    .catch((error: unknown) => {
      if (!abort.signal.aborted) console.error(error);
    })
    .finally(() => Promise.all([source.close(), store.close()]));
  running = { abort, ended };
}

async function stop(): Promise<object> {
  running?.abort.abort();
  await running?.ended;
  running = null;
  return {
    changes,
    segments,
    storedBytes,
    peakRssMib: await peakRssMib(),
    lagP99Seconds: percentile(lags) / 1_000,
    durableLagP99Seconds: percentile(durableLags) / 1_000,
  };
}

function percentile(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? 0;
}

async function until(lsn: string): Promise<void> {
  while (covered.lsn < lsn) await new Promise((resolve) => setTimeout(resolve, 5));
}

serveParent(
  Order,
  async (order) => {
    if ("start" in order) return start(order.start);
    if ("until" in order) return await until(order.until);
    return await stop();
  },
  async () => void (await stop()),
);
