import { createSecretKey, randomBytes, randomUUID } from "node:crypto";
import { text } from "node:stream/consumers";
import { backupTenant, openSource, verifyBackup } from "@rowback/recovery";
import { openStore } from "@rowback/storage";
import { z } from "zod";
import { peakRssMib } from "./measure.ts";
import { BENCH_TENANT } from "./saas-data.ts";

/**
 * One backup in a process of its own, so that its memory can be measured. Takes its orders on stdin (a connection string belongs
 * in no argument list) and prints one JSON object.
 */
const orders = z
  .object({
    url: z.string(),
    root: z.string(),
    connections: z.int(),
    verify: z.boolean(),
    encrypt: z.boolean(),
    compression: z.enum(["gzip", "zstd"]),
  })
  .parse(JSON.parse(await text(process.stdin)));

const silent = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
const source = openSource({
  id: randomUUID(),
  connectionString: orders.url,
  tenancy: { mode: "column", column: "tenant_id" },
  rules: [],
  maxConnections: orders.connections,
});
const store = openStore({ driver: "filesystem", root: orders.root });
const key = { id: randomUUID(), secret: createSecretKey(randomBytes(32)) };
const keys = { current: async () => key, get: async () => key };
const ctx = {
  store,
  source,
  keys,
  clock: { now: () => new Date() },
  log: silent,
  signal: new AbortController().signal,
};
const backup = { backupId: randomUUID(), tenantId: randomUUID() };

const startedAt = performance.now();
const outcome = await backupTenant(ctx, {
  ...backup,
  tenantKey: BENCH_TENANT,
  tables: null,
  connections: orders.connections,
  encrypt: orders.encrypt,
  compression: orders.compression,
});
const seconds = (performance.now() - startedAt) / 1000;
const peak = await peakRssMib();
const verifiedAt = performance.now();
if (orders.verify) await verifyBackup(ctx, backup);
const verifySeconds = (performance.now() - verifiedAt) / 1000;
await source.close();
await store.close();
const { rowCount, rawBytes, storedBytes, objectCount } = outcome;
console.log(JSON.stringify({ seconds, verifySeconds, peakRssMib: peak, rowCount, rawBytes, storedBytes, objectCount }));
