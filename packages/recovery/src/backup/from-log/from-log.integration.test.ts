import { randomUUID } from "node:crypto";
import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test } from "vitest";
import { type BackupArchive, openBackup } from "../../archive/backup-reader.ts";
import { MemoryStore } from "../../archive/testing/memory-store.ts";
import { CapturedWorld } from "../../changes/capture/testing/captured-world.ts";
import { RecoveryError } from "../../errors.ts";
import type { Source } from "../../postgres/source.ts";
import { ACCIDENT, SHOP } from "../../restore/testing/shop.ts";
import type { VerbContext } from "../../verb-context.ts";
import type { BackupOutcome } from "../outcome.ts";
import { backupTenant } from "../run.ts";
import type { ChainLink } from "./chain.ts";
import { openIncremental } from "./open-incremental.ts";
import { backUpFromLog, type LogBackupRequest } from "./run.ts";
import { rewritingSource } from "./testing/rewriting-source.ts";

const TENANT_ID = "11111111-1111-4111-8111-111111111111";
const TABLES = "shop.tenants, shop.customers, shop.orders, shop.lines, shop.log";

interface Here {
  readonly world: CapturedWorld;
  readonly store: MemoryStore;
  readonly ctx: VerbContext;
  full(ctx?: VerbContext): Promise<Link>;
  fromLog(
    type: LogBackupRequest["type"],
    links: readonly ChainLink[],
    wish?: Partial<LogBackupRequest> & { readonly ctx?: VerbContext },
  ): Promise<Link>;
}

interface Link extends ChainLink {
  readonly outcome: BackupOutcome;
}

async function here(): Promise<Here> {
  const database = await testDatabase("from-log");
  const store = new MemoryStore();
  const world = await CapturedWorld.make(database, {
    schema: `${SHOP}; ALTER TABLE shop.log REPLICA IDENTITY FULL`,
    tables: TABLES,
    store,
  });
  onTestFinished(() => world.end());
  world.start();
  const silent = (): void => {};
  const base: VerbContext = {
    store,
    source: world.source,
    clock: { now: () => new Date() },
    log: { debug: silent, info: silent, warn: silent, error: silent },
    signal: new AbortController().signal,
  };
  const tenant = { tenantId: TENANT_ID, tenantKey: "1" };
  const link = (backupId: string, outcome: BackupOutcome): Link => {
    return { backupId, manifestSha256: outcome.manifestSha256, outcome };
  };
  return {
    world,
    store,
    ctx: base,
    full: async (ctx = base) => {
      const backupId = randomUUID();
      return link(backupId, await backupTenant(ctx, { ...tenant, backupId, tables: null, connections: 1 }));
    },
    fromLog: async (type, links, { ctx = base, ...wish } = {}) => {
      const backupId = randomUUID();
      const outcome = await backUpFromLog(ctx, {
        ...tenant,
        backupId,
        type,
        links,
        publicationName: "rowback",
        caughtUp: () => world.caughtUp(),
        segments: (_from, untilLsn) => world.segments.filter(({ index }) => index.first.lsn <= untilLsn),
        ...wish,
      });
      return link(backupId, outcome);
    },
  };
}

test("a synthetic full is what a full backup in the same snapshot is, table by table, while everybody writes", async () => {
  const { world, ctx, full, fromLog } = await here();
  const base = await full();
  for (const statement of ACCIDENT.slice(0, 5)) await world.sql(statement);
  await world.sql("ALTER TABLE shop.log ADD COLUMN level integer DEFAULT 7");
  await world.sql("UPDATE shop.log SET level = 1 WHERE tenant_id = 1 AND message = 'said 1'");
  // Of a table that nobody writes to afterwards: old rows get the default without being touched.
  await world.sql("ALTER TABLE shop.lines ADD COLUMN pieces integer NOT NULL DEFAULT 12");
  const writer = keepWriting(world);
  const { exported, end } = await exportSnapshot(world);
  const at = { ...ctx, source: atSnapshot(world, exported) };
  await world.sql(ACCIDENT[5]);
  const real = await full(at);
  const synthetic = await fromLog("synthetic_full", [base], { ctx: at });
  await end();
  await writer.stop();
  expect(synthetic.outcome.snapshot.pgSnapshot).toBe(real.outcome.snapshot.pgSnapshot);
  expect(synthetic.outcome.tables).toEqual(real.outcome.tables);
  expect(writer.written).toBeGreaterThan(0);

  await loseTheLog(world);
  const [a, b] = await Promise.all([real, synthetic].map((link) => open(world, link)));
  await b?.verify();
  const described = (archive: BackupArchive | undefined) =>
    archive?.manifest.tables.map(({ table, scope, columns, key }) => ({ table, scope, columns, key }));
  expect(described(b)).toEqual(described(a));
  expect({ type: b?.manifest.type, schema: b?.manifest.schema, sequences: b?.manifest.sequences }).toEqual({
    type: "full",
    schema: a?.manifest.schema,
    sequences: expect.arrayContaining(
      a?.manifest.sequences.map(({ sequence }) => expect.objectContaining({ sequence })) ?? [],
    ),
  });
});

test("incremental on incremental: each gives the rows of its own snapshot, without the log and in nothing but what changed", async () => {
  const { world, store, full, fromLog } = await here();
  const links: Link[] = [await full()];
  const expected: unknown[] = [];
  for (const statement of ACCIDENT) {
    await world.sql(statement);
    await world.sql("UPDATE shop.orders SET total = total + 1 WHERE tenant_id = 2");
    links.push(await fromLog("incremental", links, { partBytes: 200 }));
    expected.push((await full()).outcome.tables);
  }
  const idle = await fromLog("incremental", links);
  expect(idle.outcome).toMatchObject({ objectCount: 1, rowCount: links.at(-1)?.outcome.rowCount });
  const before = [...store.objects.keys()].length;
  await loseTheLog(world);
  expect([...store.objects.keys()].length).toBeLessThan(before);
  for (const [at, tables] of expected.entries()) {
    const archive = await openIncremental(
      { store, signal: new AbortController().signal },
      { tenantId: TENANT_ID, tenantKey: "1", links: links.slice(0, at + 2) },
    );
    await archive.verify();
    const found = archive.manifest.tables.map(({ table, fingerprint, rawBytes }) => {
      return { table, rows: fingerprint.rows, rawBytes, fingerprint };
    });
    expect(found).toEqual(tables);
  }
  const synthetic = await fromLog("synthetic_full", links, { segments: () => [], caughtUp: async () => {} });
  expect(synthetic.outcome.tables).toEqual(expected.at(-1));
});

test("what can't be told from the log is refused, and nothing is left behind", async () => {
  const { world, store, ctx, full, fromLog } = await here();
  const base = await full();
  const before = [...store.objects.keys()].filter((key) => key.startsWith("tenants/"));
  const refused = async (link: Promise<Link>, code: string): Promise<void> => {
    await expect(link).rejects.toMatchObject({ code });
    expect([...store.objects.keys()].filter((key) => key.startsWith("tenants/"))).toEqual(before);
  };
  const behind = new RecoveryError("capture_behind", "The log is not there yet.");
  await refused(fromLog("incremental", [base], { caughtUp: () => Promise.reject(behind) }), "capture_behind");
  await world.sql("UPDATE shop.orders SET total = 1 WHERE tenant_id = 1");
  await refused(fromLog("synthetic_full", [base], { maxStoredBytes: 1_000 }), "quota_exceeded");
  await refused(fromLog("incremental", [base], { maxStoredBytes: 1_000 }), "quota_exceeded");
  const cancelled = new AbortController();
  const whileWaiting = fromLog("incremental", [base], {
    ctx: { ...ctx, signal: cancelled.signal },
    caughtUp: async () => cancelled.abort(),
  });
  await refused(whileWaiting, "cancelled");
  await world.sql("ALTER TABLE shop.log RENAME TO journal");
  await refused(fromLog("incremental", [base]), "schema_drift");
  await world.sql("ALTER TABLE shop.journal RENAME TO log");
  await world.sql(
    "DELETE FROM shop.lines USING shop.orders o WHERE order_id = o.id AND o.tenant_id = 1; DELETE FROM shop.orders WHERE tenant_id = 1; UPDATE shop.customers SET referred_by = NULL; DELETE FROM shop.log WHERE tenant_id = 1; DELETE FROM shop.customers WHERE tenant_id = 1; DELETE FROM shop.tenants WHERE id = 1",
  );
  await refused(fromLog("incremental", [base]), "tenant_not_in_source");
});

test("no statement to the source names a table of it", async () => {
  const { world, ctx, full, fromLog } = await here();
  const heard: string[] = [];
  const hear = (sql: string): string => {
    heard.push(sql);
    return sql;
  };
  const heeded = { ...ctx, source: rewritingSource(world.source, hear) };
  const base = await full();
  await world.sql("UPDATE shop.orders SET total = 1 WHERE tenant_id = 1");
  const incremental = await fromLog("incremental", [base], { ctx: heeded });
  await fromLog("synthetic_full", [base, incremental], { ctx: heeded });
  expect(heard.length).toBeGreaterThan(0);
  expect(heard.filter((sql) => /\bshop\b|\bCOPY\b/.test(sql))).toEqual([]);
});

async function open({ store }: CapturedWorld, { backupId, manifestSha256 }: ChainLink): Promise<BackupArchive> {
  return await openBackup(store, { tenantId: TENANT_ID, backupId, expectManifestSha256: manifestSha256 });
}

/** The capture ends, and every object of the change log goes. */
async function loseTheLog(world: CapturedWorld): Promise<void> {
  await world.stop();
  for await (const { key } of world.store.list("sources/")) await world.store.delete([key]);
}

async function exportSnapshot(world: CapturedWorld): Promise<{ exported: string; end: () => Promise<void> }> {
  const { promise: ended, resolve: end } = Promise.withResolvers<void>();
  const { promise: exported, resolve } = Promise.withResolvers<string>();
  const holding = world.source.connect(async (client) => {
    await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY");
    const { rows } = await client.query("SELECT pg_export_snapshot() AS id");
    resolve(String(Reflect.get(Object(rows[0]), "id")));
    await ended;
    await client.query("COMMIT");
  });
  return {
    exported: await exported,
    end: async () => {
      end();
      await holding;
    },
  };
}

const BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;";

/** The same source, whose snapshots are all this exported one: whoever reads it, whenever, sees one moment. */
function atSnapshot({ source }: CapturedWorld, exported: string): Source {
  return rewritingSource(source, (sql) => sql.replace(BEGIN, `${BEGIN} SET TRANSACTION SNAPSHOT '${exported}';`));
}

/** Both tenants' rows change all the time. */
function keepWriting(world: CapturedWorld): { written: number; stop: () => Promise<void> } {
  let going = true;
  const writer = {
    written: 0,
    stop: async () => {
      going = false;
      await done;
    },
  };
  const done = (async () => {
    while (going) {
      await world.sql("UPDATE shop.orders SET total = total + 1 WHERE id % 3 = 0");
      await world.sql("INSERT INTO shop.log (tenant_id, message) VALUES (1, 'more'), (2, 'more')");
      writer.written += 1;
    }
  })();
  return writer;
}
