import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { clientTools, startPostgres } from "@rowback/local-services";
import { applyRestore, backupTenant, openSource, previewRestore, type VerbContext } from "@rowback/recovery";
import { changedTables, type RestorePlan } from "@rowback/recovery/plans";
import { openStore } from "@rowback/storage";
import pg from "pg";
import { median, peakRssMib, ratio, report, run, seconds } from "./measure.ts";
import { haveAccident, loadTenants, TENANT_TABLES, TENANTS } from "./tenants-data.ts";

/**
 * How long it takes to undo an accident that changed one row in a thousand of one of ten tenants, on PostgreSQL 15:
 *
 * - today: `pg_restore -j 2` of the whole dump into a scratch database, then the tenant's rows are deleted and copied back, with
 *   triggers and foreign keys suppressed.
 * - ours, as a user lives it: preview, pre-restore backup of the tables that change, apply. `ratio_to_pg_restore` is against all three; the
 *   same with backups in zstd.
 *
 * `npm run bench -- restore [--rows 1000000] [--rounds 3]`: rows of one tenant; rounds of ours (the other side runs once: it is long).
 */
const { values: options } = parseArgs({
  options: { rows: { type: "string", default: "1000000" }, rounds: { type: "string", default: "3" } },
});
const rows = Number(options.rows);

const SERVER_SETTINGS = { shared_buffers: "512MB", max_wal_size: "8GB", fsync: "off", autovacuum: "off" };
const TENANT = { tenantId: randomUUID(), tenantKey: "1" };

const folder = await mkdtemp(join(tmpdir(), "rowback-bench-"));
const tools = await clientTools();
const server = await startPostgres({ distribution: "debian", settings: SERVER_SETTINGS });
try {
  console.log(`loading ${TENANTS} tenants of ${rows} rows …`);
  console.log(`loaded in ${Math.round(await seconds(() => loadTenants(server.url, rows)))} s`);
  report({ bench: "restore", rows, ...(await compare(server.url)) });
} finally {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

async function compare(url: string): Promise<Record<string, number>> {
  const ctx = openContext(url);
  try {
    const gzip = { backupId: randomUUID(), compression: "gzip" } as const;
    const zstd = { backupId: randomUUID(), compression: "zstd" } as const;
    for (const backup of [gzip, zstd]) await backupTenant(ctx, { ...TENANT, ...backup, tables: null });
    const dump = join(folder, "all.dump");
    await run(tools.pgDump, ["-Fc", "-Z1", "-f", dump, "-d", withoutPassword(url)], { env: password(url) });

    const ours: Restored[] = [];
    const packed: Restored[] = [];
    for (let round = 1; round <= Number(options.rounds); round += 1) {
      for (const [backup, restored] of [[gzip, ours] as const, [zstd, packed] as const]) {
        await haveAccident(url);
        const figures = await restore(ctx, backup);
        console.log(`round ${round}, ${backup.compression}: ${JSON.stringify(figures)}`);
        restored.push(figures);
      }
    }
    const peak = await peakRssMib();
    await requireRestored(ctx, gzip.backupId);

    await haveAccident(url);
    const theirs = await restoreByHand(url, dump);
    console.log(`pg_restore and copying back: ${JSON.stringify(theirs)}`);
    await requireRestored(ctx, gzip.backupId);

    const byHand = theirs.restore + theirs.copyBack;
    const middle = (of: (restored: Restored) => number): number => median(ours.map(of));
    const sum = (one: Restored): number => one.preview + one.backup + one.apply;
    const seconds = {
      seconds: middle(sum),
      preview_seconds: middle((one) => one.preview),
      pre_restore_backup_seconds: middle((one) => one.backup),
      apply_seconds: middle((one) => one.apply),
      zstd_seconds: median(packed.map(sum)),
      pg_restore_seconds: byHand,
    };
    return {
      changed_rows: ours[0]?.changed ?? 0,
      ...Object.fromEntries(Object.entries(seconds).map(([name, value]) => [name, ratio(value, 1)])),
      ratio_to_pg_restore: ratio(byHand, seconds.seconds),
      zstd_ratio_to_pg_restore: ratio(byHand, seconds.zstd_seconds),
      apply_ratio_to_pg_restore: ratio(byHand, seconds.apply_seconds),
      peak_rss_mib: Math.round(peak),
    };
  } finally {
    await ctx.source.close();
    await ctx.store.close();
  }
}

interface Packed {
  readonly backupId: string;
  readonly compression: "gzip" | "zstd";
}

interface Restored {
  readonly preview: number;
  readonly backup: number;
  readonly apply: number;
  readonly changed: number;
}

async function restore(ctx: VerbContext, { backupId, compression }: Packed): Promise<Restored> {
  const request = { ...TENANT, backupId, mode: "exact", tables: null, keys: null, triggers: "suppress" } as const;
  let plan: RestorePlan | undefined;
  const preview = await seconds(async () => {
    plan = await previewRestore(ctx, request);
  });
  if (plan === undefined) throw new Error("no plan");
  const { digest } = plan;
  const tables = changedTables(plan);
  const backup = await seconds(() => backupTenant(ctx, { ...TENANT, backupId: randomUUID(), tables, compression }));
  const apply = await seconds(() => applyRestore(ctx, { ...request, expect: { planDigest: digest } }));
  const changed = plan.tables.reduce((sum, table) => sum + table.insert + table.update + table.delete, 0);
  return { preview, backup, apply, changed };
}

async function requireRestored(ctx: VerbContext, backupId: string): Promise<void> {
  const plan = await previewRestore(ctx, {
    ...TENANT,
    backupId,
    mode: "exact",
    tables: null,
    keys: null,
    triggers: "suppress",
  });
  if (changedTables(plan).length > 0) throw new Error(`not restored: ${changedTables(plan).join(", ")}`);
}

/** What an engineer does today, written as favourably as possible: two jobs, one transaction, nothing checked. */
async function restoreByHand(url: string, dump: string): Promise<{ restore: number; copyBack: number }> {
  const scratch = new URL(url);
  scratch.pathname = "/scratch";
  const env = password(url);
  const admin = new pg.Client({ connectionString: url });
  await admin.connect();
  await admin.query("CREATE DATABASE scratch TEMPLATE template0");
  await admin.end();
  const restore = await seconds(() =>
    run(tools.pgRestore, ["-j", "2", "-d", withoutPassword(scratch.href), dump], { env }),
  );
  const copyBack = await seconds(() =>
    run(tools.psql, ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", withoutPassword(url)], {
      env,
      input: [
        "BEGIN; SET LOCAL session_replication_role = replica;",
        ...TENANT_TABLES.toReversed().map((table) => `DELETE FROM ${table} WHERE ${ownRows(table)};`),
        ...TENANT_TABLES.map(
          (table) =>
            `\\copy ${table} FROM PROGRAM '${tools.psql} -X -q -d "${withoutPassword(scratch.href)}" -c "COPY (SELECT * FROM ${table} WHERE ${ownRows(table)}) TO STDOUT"'`,
        ),
        "COMMIT;",
      ].join("\n"),
    }),
  );
  return { restore, copyBack };
}

function ownRows(table: (typeof TENANT_TABLES)[number]): string {
  return table === "app.tenants" ? "id = 1" : "tenant_id = 1";
}

function openContext(url: string): VerbContext {
  const silent = (): void => {};
  return {
    store: openStore({ driver: "filesystem", root: join(folder, "store") }),
    source: openSource({
      id: randomUUID(),
      connectionString: url,
      tenancy: { mode: "column", column: "tenant_id" },
      rules: [],
      maxConnections: 2,
    }),
    clock: { now: () => new Date() },
    log: { debug: silent, info: silent, warn: silent, error: silent },
    signal: new AbortController().signal,
  };
}

/** A password belongs in no argument list. */
function withoutPassword(url: string): string {
  const parsed = new URL(url);
  parsed.password = "";
  return parsed.href;
}

function password(url: string): Record<string, string> {
  return { PGPASSWORD: decodeURIComponent(new URL(url).password) };
}
