import { getCaptureState, listAuditEntries, listEpochs, listGaps, listSegments } from "@rowback/db";
import { type TestDatabase, testDatabase } from "@rowback/local-services/testing";
import { captureNames } from "@rowback/recovery";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { askCapture as ask, caughtUp, dropSlot } from "./testing/capture.ts";
import { type WorkerFixture, workerFixture } from "./testing/worker-fixture.ts";
import { startWorkerProcess } from "./testing/worker-process.ts";

const SHOP = `
CREATE TABLE tenants (id text PRIMARY KEY);
INSERT INTO tenants VALUES ('acme'), ('bolt');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, note text);
ALTER TABLE orders REPLICA IDENTITY FULL`;

interface Shop {
  readonly database: TestDatabase;
  readonly fixture: WorkerFixture;
  readonly slot: string;
}

async function shop(name: string, schema = SHOP): Promise<Shop> {
  const database = await testDatabase(name);
  await database.pool.query(schema);
  const fixture = await workerFixture(name, { sourceUrl: database.url });
  const slot = captureNames(fixture.sourceId).slotName;
  // After the workers have ended: they are closed with the fixture, which was made first.
  onTestFinished(() => dropSlot(database, slot));
  return { database, fixture, slot };
}

async function loggedChanges({ fixture }: Shop, epoch = 1): Promise<number> {
  let changes = 0;
  for await (const segment of listSegments(fixture.db.system, { sourceId: fixture.sourceId, epoch, tenantKey: null }))
    changes += segment.changes;
  return changes;
}

test("a source that is set up is captured, and torn down it has neither slot nor publication, and a gap", async () => {
  const here = await shop("capture life");
  const { database, fixture, slot } = here;
  await fixture.start();
  const setup = await fixture.until((await ask(fixture, "capture_setup")).id, "succeeded");
  expect(setup.result).toMatchObject({ epoch: 1, isNew: true, slotName: slot, capturedTables: 2 });
  await database.pool.query("INSERT INTO orders SELECT n, 'acme', 'x' FROM generate_series(1, 100) AS n");
  await caughtUp(here);
  expect(await loggedChanges(here)).toBe(100);
  expect(await getCaptureState(fixture.db.system, fixture.sourceId)).toMatchObject({ status: "on", problem: null });

  const again = await fixture.until((await ask(fixture, "capture_setup")).id, "succeeded");
  expect(again.result).toMatchObject({ epoch: 1, isNew: false });

  await fixture.until((await ask(fixture, "capture_teardown")).id, "succeeded");
  const left = await database.pool.query(
    "SELECT slot_name AS name FROM pg_replication_slots WHERE slot_name = $1 UNION ALL SELECT pubname FROM pg_publication",
    [slot],
  );
  expect(left.rows).toEqual([]);
  expect(await listGaps(fixture.db.system, { sourceId: fixture.sourceId, tenantKey: "acme" })).toMatchObject([
    { reason: "capture_off", tenantKey: null, epoch: 1 },
  ]);
  expect(await getCaptureState(fixture.db.system, fixture.sourceId)).toMatchObject({ status: "off", worker: null });
  const [stopped] = (await listAuditEntries(fixture.db.system, null, { action: "capture.stop" })).items;
  expect(stopped).toMatchObject({ userId: "olga", before: { epoch: 1 }, after: { worker: "test-worker" } });
});

test("a table whose updates would fail is refused, with what to run, and nothing is changed", async () => {
  const { database, fixture } = await shop(
    "capture refused",
    `${SHOP}; CREATE TABLE notes (tenant_id text NOT NULL, body text)`,
  );
  await fixture.start();
  const refused = await fixture.until((await ask(fixture, "capture_setup")).id, "failed");
  expect(refused.error).toMatchObject({ code: "capture_refused", table: "public.notes" });
  expect(refused.error?.hint).toContain('ALTER TABLE "public"."notes" REPLICA IDENTITY FULL;');
  expect((await database.pool.query("SELECT FROM pg_publication")).rowCount).toBe(0);
  expect(await getCaptureState(fixture.db.system, fixture.sourceId)).toBeNull();
});

test("another worker takes over within ten seconds of a kill -9, and nothing is lost or logged twice", {
  timeout: 150_000,
}, async () => {
  const here = await shop("capture takeover");
  const { database, fixture } = here;
  const { child } = startWorkerProcess(fixture, { sourceUrl: database.url, graceMs: 0 });
  await fixture.until((await ask(fixture, "capture_setup")).id, "succeeded", 50_000);
  const holder = async (): Promise<string | null> =>
    (await getCaptureState(fixture.db.system, fixture.sourceId))?.worker ?? null;
  await expect.poll(holder, { timeout: 30_000 }).toContain(`/${child.pid}`);
  await fixture.start();
  await database.pool.query("INSERT INTO orders SELECT n, 'acme', 'x' FROM generate_series(1, 1000) AS n");
  await caughtUp(here, 30_000);
  await database.pool.query("INSERT INTO orders SELECT n, 'bolt', 'y' FROM generate_series(1001, 1500) AS n");
  child.kill("SIGKILL");
  await expect.poll(holder, { timeout: 10_000 }).toBe("test-worker");
  await database.pool.query("UPDATE orders SET note = 'z' WHERE id <= 10");
  await caughtUp(here, 30_000);
  expect(await loggedChanges(here)).toBe(1_510);
});

test("a lost slot is replaced: a new epoch, a declared gap, and a full backup of every tenant", async () => {
  const here = await shop("capture lost");
  const { database, fixture, slot } = here;
  const worker = await fixture.start();
  await fixture.until((await ask(fixture, "capture_setup")).id, "succeeded");
  await database.pool.query("INSERT INTO orders VALUES (1, 'acme', 'x')");
  await caughtUp(here);
  await worker.close();
  await dropSlot(database, slot);
  await database.pool.query("INSERT INTO orders VALUES (2, 'acme', 'nobody saw it')");

  await fixture.start();
  const { sourceId, tenantId, db } = fixture;
  await expect.poll(async () => (await listEpochs(db.system, sourceId)).length, { timeout: 20_000 }).toBe(2);
  await database.pool.query("INSERT INTO orders VALUES (3, 'acme', 'z')");
  await caughtUp(here);
  expect(await loggedChanges(here, 2)).toBe(1);
  const [first, second] = await listEpochs(db.system, sourceId);
  expect(first?.endedAt).not.toBeNull();
  expect(await listGaps(db.system, { sourceId, tenantKey: "acme" })).toMatchObject([
    { reason: "slot_lost", epoch: 1, beginsLsn: first?.coveredLsn, causeXid: null },
  ]);
  const { rows } = await db.system.query({
    text: "SELECT b.run_id AS id FROM backup_jobs b WHERE b.tenant_id = $1 AND b.purpose = 'rebase'",
    values: [tenantId],
  });
  const [backup] = z.array(z.object({ id: z.uuid() })).parse(rows);
  await fixture.until(backup?.id ?? "", "succeeded");
  expect(rows).toHaveLength(1);
  expect(second?.startXid).toBeGreaterThan(first?.startXid ?? 0n);
  const entries = (await listAuditEntries(db.system, null)).items.toReversed();
  expect(entries).toMatchObject([
    { action: "capture.start", userId: "olga", after: { epoch: 1, worker: "test-worker" } },
    { action: "capture.heal", userId: "rowback:worker", before: { epoch: 1 }, after: { epoch: 2, gap: "slot_lost" } },
  ]);
});
