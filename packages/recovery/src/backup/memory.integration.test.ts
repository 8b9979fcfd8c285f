import { randomBytes } from "node:crypto";
import { testDatabase } from "@rowback/local-services/testing";
import type { ObjectBody } from "@rowback/storage";
import { expect, onTestFinished, test, vi } from "vitest";
import { backupTenant } from "./run.ts";
import { newBackup, testContext } from "./testing/context.ts";
import { verifyBackup } from "./verify.ts";

const MEBIBYTE = 1_048_576;
const TABLE_MEBIBYTES = 48;

/** Most of what may be between the server and a store that takes nothing: slots, compressed blocks, sockets' buffers. */
const MOST_ON_THE_WAY = 32 * MEBIBYTE;

test("a store that takes nothing more stops the source's server: what is on the way does not grow with the table", async () => {
  const database = await testDatabase("memory");
  await database.pool.query(`
    CREATE TABLE tenants (id int PRIMARY KEY);
    INSERT INTO tenants VALUES (1);
    CREATE TABLE letters (id serial PRIMARY KEY, tenant_id int NOT NULL REFERENCES tenants, body text NOT NULL);
    ALTER TABLE letters ALTER body SET STORAGE EXTERNAL;`);
  // Bytes without a pattern, as far as gzip looks back: what is read is nearly what has to be stored. Several rows fit a block.
  await database.pool.query(
    "INSERT INTO letters (tenant_id, body) SELECT 1, n || $1 FROM generate_series(1, $2::int) n",
    [randomBytes(MEBIBYTE / 8).toString("base64"), 6 * TABLE_MEBIBYTES],
  );
  const ctx = await testContext(database.url);
  onTestFinished(() => ctx.source.close());

  const gate = Promise.withResolvers<void>();
  onTestFinished(() => gate.resolve());
  let stored = 0;
  async function* gated(body: ObjectBody): AsyncGenerator<Uint8Array> {
    for await (const piece of body instanceof Uint8Array ? [body] : body) {
      if (stored > 8 * MEBIBYTE) await gate.promise;
      stored += piece.length;
      yield piece;
    }
  }
  const store = Object.create(ctx.store, {
    put: { value: (key: string, body: ObjectBody, options?: object) => ctx.store.put(key, gated(body), options) },
  });
  let read = 0;
  const onProgress = ({ tables }: { tables: readonly { bytes: number }[] }): void => {
    read = tables.reduce((sum, { bytes }) => sum + bytes, 0);
  };

  const backup = newBackup();
  const backingUp = backupTenant({ ...ctx, store, onProgress }, { ...backup, tenantKey: "1", tables: null });
  backingUp.catch(() => {});
  let readBefore = 0;
  let quietPolls = 0;
  await vi.waitFor(
    async () => {
      const { rows } = await database.pool.query(
        "SELECT wait_event FROM pg_stat_activity WHERE application_name = 'rowback-test' AND datname = current_database() AND query LIKE 'COPY%'",
      );
      const quiet = rows[0]?.wait_event === "ClientWrite" && read === readBefore;
      readBefore = read;
      quietPolls = quiet ? quietPolls + 1 : 0;
      expect(quietPolls, "the server waits, and nobody reads").toBeGreaterThan(20);
    },
    { timeout: 90_000, interval: 50 },
  );
  expect(read - stored).toBeLessThan(MOST_ON_THE_WAY);
  gate.resolve();
  const { rawBytes } = await backingUp;
  expect(rawBytes).toBeGreaterThan(TABLE_MEBIBYTES * MEBIBYTE);
  expect(read).toBe(rawBytes);
  await verifyBackup(ctx, backup);
}, 180_000);
