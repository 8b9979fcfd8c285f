import { sealSecret, updateSource } from "@rowback/db";
import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { controlQueries } from "./control.ts";
import { SourcePool } from "./source-pool.ts";
import { workerFixture } from "./testing/worker-fixture.ts";

async function pooled(idleMs: number) {
  const source = await testDatabase("pool-source");
  const fixture = await workerFixture("pool", { sourceUrl: source.url });
  const { db, config, sourceId } = fixture;
  const pool = new SourcePool({
    control: controlQueries(db),
    secretKey: config.secretKey,
    resolveSecret: config.resolveSecret,
    maxConnections: 2,
    applicationName: "rowback pool test",
    idleMs,
  });
  onTestFinished(() => pool.close());
  const connections = async (): Promise<number> => {
    const { rowCount } = await source.pool.query(
      "SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'rowback pool test'",
    );
    return rowCount ?? 0;
  };
  return { ...fixture, source, pool, sourceId, connections };
}

const ping = ({ source }: Parameters<Parameters<SourcePool["use"]>[1]>[0]) =>
  source.connect((client) => client.query("SELECT 1"));

test("runs at the same time share one source", async () => {
  const { pool, sourceId } = await pooled(60_000);
  const seen = await Promise.all(Array.from({ length: 8 }, () => pool.use(sourceId, async ({ source }) => source)));
  expect(new Set(seen).size).toBe(1);
});

test("a source whose row changed is opened anew; who uses the old one still may", async () => {
  const { pool, sourceId, db, config, source, connections } = await pooled(60_000);
  await pool.use(sourceId, async (old) => {
    const sealed = sealSecret(source.url, config.secretKey);
    await updateSource(db.system, sourceId, { connection: { kind: "sealed", sealed } });
    await pool.use(sourceId, async (fresh) => {
      expect(fresh.source).not.toBe(old.source);
      await ping(fresh);
    });
    await ping(old);
    expect(await connections()).toBe(2);
  });
  await vi.waitFor(async () => expect(await connections()).toBe(1), { timeout: 5_000 });
});

test("an idle source is closed", async () => {
  const { pool, sourceId, connections } = await pooled(50);
  await pool.use(sourceId, ping);
  await vi.waitFor(async () => expect(await connections()).toBe(0), { timeout: 5_000 });
});

test("a secret sealed with another key, and a setting that is missing, are named without showing them", async () => {
  const { pool, sourceId, db } = await pooled(60_000);
  const sealed = sealSecret("postgres://u:s3cret@h/d", Buffer.alloc(32, 1));
  await updateSource(db.system, sourceId, { connection: { kind: "sealed", sealed } });
  const refused = pool.use(sourceId, ping);
  await expect(refused).rejects.toMatchObject({ code: "source_not_configured" });
  await updateSource(db.system, sourceId, { connection: { kind: "reference", reference: "env:NOWHERE" } });
  await expect(pool.use(sourceId, ping)).rejects.toMatchObject({ code: "source_not_configured" });
});
