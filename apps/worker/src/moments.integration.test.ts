import {
  getTenant,
  insertRestorePointRun,
  insertRun,
  insertSource,
  listEpochs,
  listGaps,
  listMomentBases,
} from "@rowback/db";
import { HistoryResult, JOBS, RestorePointResult, type RunMoment } from "@rowback/jobs";
import { testDatabase } from "@rowback/local-services/testing";
import { type MomentTarget, reachesOf, resolveMoment } from "@rowback/recovery/plans";
import { expect, test } from "vitest";
import { z } from "zod";
import { type CapturedShop, capturedShop } from "./testing/captured-shop.ts";
import { MISTAKE, SHOP } from "./testing/shop.ts";

/** A transaction of the source, and the tenant's rows as it left them. */
interface Written {
  readonly xid: string;
  /** `X/X`, behind its commit. */
  readonly lsn: string;
  /** After it, by the source's clock. */
  readonly time: string;
  readonly rows: string;
}

const Place = z.tuple([z.object({ lsn: z.string(), time: z.string() })]);
const Xid = z.tuple([z.object({ xid: z.string() })]);

async function write(at: CapturedShop, statement: string): Promise<Written> {
  const client = await at.source.pool.connect();
  try {
    await client.query(`BEGIN; ${statement}`);
    const [{ xid }] = Xid.parse((await client.query("SELECT pg_current_xact_id()::text AS xid")).rows);
    await client.query("COMMIT");
    const place = await client.query(
      `SELECT pg_current_wal_insert_lsn()::text AS lsn,
         to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time`,
    );
    return { xid, ...Place.parse(place.rows)[0], rows: await at.rows("acme") };
  } finally {
    client.release();
  }
}

/** What the API makes of a target, once the log reaches it. */
async function momentOf(
  at: CapturedShop,
  target: MomentTarget,
  pointLsn: string | null = null,
): Promise<{ backupId: string; moment: RunMoment }> {
  const { sourceId } = at;
  const { system } = at.db;
  const key = (await getTenant(system, at.tenantId))?.key ?? "";
  const resolve = async (): Promise<{ backupId: string; moment: RunMoment }> => {
    const bases = await listMomentBases(system, { tenantId: at.tenantId, sourceId });
    const epochs = await listEpochs(system, sourceId);
    const gaps = (await listGaps(system, { sourceId, tenantKey: key })).map((gap) => ({
      ...gap,
      table: gap.tableName,
    }));
    const reaches = reachesOf({ bases, epochs, gaps, tables: null });
    const { base, epoch, limit } = resolveMoment({ target, pointLsn, reaches, now: new Date() });
    return { backupId: base.backupId, moment: { asked: { ...target }, limit, epoch } };
  };
  await expect.poll(() => resolve().then(() => "reached", String), { timeout: 20_000 }).toBe("reached");
  return await resolve();
}

test("a time, a WAL position, just before a transaction, a restore point: each brings back what was there, by the worker that captures", {
  timeout: 120_000,
}, async () => {
  const at = await capturedShop("moments");
  const base = (await at.backup()).id;
  const good = await write(at, "UPDATE orders SET total = total + 1 WHERE tenant_id = 'acme' AND id <= 50");
  const point = await at.until((await askPoint(at, "before the clean-up")).id, "succeeded");
  const { lsn: pointLsn } = RestorePointResult.parse(point.result);
  const more = await write(at, "INSERT INTO orders VALUES (5000, 'acme', 2, 7), (5001, 'zenith', 1, 7)");
  const bad = await write(at, MISTAKE);
  await write(at, "UPDATE customers SET name = name || '!' WHERE id > 100");
  await at.backup();
  const others = await at.rows("zenith");
  const targets: [MomentTarget, string | null, string][] = [
    [{ time: more.time }, null, more.rows],
    [{ lsn: good.lsn }, null, good.rows],
    [{ beforeTransaction: bad.xid }, null, more.rows],
    [{ restorePoint: "before the clean-up" }, pointLsn, good.rows],
  ];
  for (const [target, lsn, rows] of targets) {
    const { backupId, moment } = await momentOf(at, target, lsn);
    expect(backupId).toBe(base);
    await at.until((await at.apply(await at.preview(backupId, "exact", { moment }))).id, "succeeded");
    expect(await at.rows("acme"), JSON.stringify(target)).toBe(rows);
  }
  expect(await at.rows("zenith")).toBe(others);
});

test("a row's history tells when it vanished, by which transaction, and what it was", async () => {
  const at = await capturedShop("history");
  await at.backup();
  const raised = await write(at, "UPDATE orders SET total = 99 WHERE id = 100");
  const gone = await write(at, MISTAKE);
  const { backupId, moment } = await momentOf(at, { time: gone.time });
  const params = {
    table: "public.orders",
    key: ["100"],
    backupId,
    epoch: moment.epoch,
    limit: 100,
    after: null,
  };
  const run = await at.until((await ask(at, "history", params)).id, "succeeded");
  const { versions } = HistoryResult.parse(run.result);
  expect(versions).toMatchObject([
    { operation: "base", row: { total: "150.0" } },
    { operation: "update", transaction: raised.xid, row: { total: "99" }, changed: ["total"] },
    { operation: "delete", transaction: gone.xid, row: null },
  ]);
  const before = await momentOf(at, { beforeTransaction: versions[2]?.transaction ?? "" });
  const { id } = await at.apply(await at.preview(before.backupId, "exact", { moment: before.moment }));
  await at.until(id, "succeeded");
  expect(await at.rows("acme")).toBe(raised.rows);
});

test("a moment goes into another database, and the tenant's own stays as it is", async () => {
  const elsewhere = await testDatabase("elsewhere");
  await elsewhere.pool.query(`${SHOP} DELETE FROM orders WHERE tenant_id = 'acme'; UPDATE customers SET name = 'old'`);
  const at = await capturedShop("target", { otherSources: { ELSEWHERE_URL: elsewhere.url } });
  const source = await insertSource(at.db.system, {
    name: "elsewhere",
    connection: { kind: "reference", reference: "env:ELSEWHERE_URL" },
    tenancy: { mode: "column", column: "tenant_id" },
  });
  await at.backup();
  const good = await write(at, "UPDATE orders SET total = total + 1 WHERE tenant_id = 'acme' AND id <= 50");
  await write(at, MISTAKE);
  const now = await at.rows("acme");
  const { backupId, moment } = await momentOf(at, { lsn: good.lsn });
  const where = { moment, targetSourceId: source?.id ?? "" };
  await at.until((await at.apply(await at.preview(backupId, "exact", where))).id, "succeeded");
  const there = await at.rowsIn(elsewhere, "acme");
  expect(there).toBe(good.rows);
  expect(await at.rowsIn(elsewhere, "zenith")).toContain("old");
  expect(await at.rows("acme")).toBe(now);
});

test("a table whose columns were changed beyond return stands in the way of its own restore, and of no other table's", async () => {
  const at = await capturedShop("chosen");
  await at.backup();
  // No value is written anew, so it is no gap; but whether each prints as before, nobody promises.
  await at.sql("ALTER TABLE customers ALTER name TYPE varchar");
  await at.sql("UPDATE customers SET name = 'renamed' WHERE id = 2");
  const good = await write(at, "UPDATE orders SET total = total + 1 WHERE tenant_id = 'acme' AND id <= 50");
  await write(at, "DELETE FROM orders WHERE tenant_id = 'acme' AND id <= 100");
  const { backupId, moment } = await momentOf(at, { lsn: good.lsn });
  const refused = await at.until((await at.askPreview(backupId, "exact", { moment })).id, "failed");
  expect(refused.error).toMatchObject({ code: "schema_drift", table: "public.customers" });
  const preview = await at.preview(backupId, "exact", { moment, tables: ["public.orders"] });
  await at.until((await at.apply(preview)).id, "succeeded");
  expect(await at.rows("acme")).toBe(good.rows);
});

async function askPoint(at: CapturedShop, name: string): Promise<{ id: string }> {
  const { tenantId, sourceId } = at;
  const asked = { tenantId, sourceId, maxAttempts: JOBS.restore_point.attempts, requestedBy: "user-1" };
  const inserted = await insertRestorePointRun(at.db.system, { ...asked, params: { name } }, name);
  if (inserted.outcome !== "created") throw new Error(inserted.outcome);
  await at.enqueue(inserted.run);
  return inserted.run;
}

async function ask(at: CapturedShop, kind: "history", params: unknown): Promise<{ id: string }> {
  const { tenantId, sourceId } = at;
  const asked = { kind, tenantId, sourceId, maxAttempts: JOBS[kind].attempts, requestedBy: "user-1" };
  const inserted = await insertRun(at.db.system, { ...asked, params });
  if (inserted.outcome !== "created") throw new Error(inserted.outcome);
  await at.enqueue(inserted.run);
  return inserted.run;
}
