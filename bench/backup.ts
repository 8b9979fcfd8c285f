import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { clientTools, startPostgres } from "@rowback/local-services";
import { openSource, planBackup, planScopes, readCatalog } from "@rowback/recovery";
import { type BackupFigures, backUpInProcess } from "./backup-process.ts";
import { inTurns, ratio, report, run, seconds } from "./measure.ts";
import { BENCH_TENANT, loadTenant } from "./saas-data.ts";

/**
 * How fast one large tenant is backed up, against what people have today, on PostgreSQL 15 of this machine, with warm caches, turn by turn:
 *
 * - `copy drain`: psql runs the very COPY statements of the backup with their output to /dev/null, one after the other: what one connection
 *   can give. And `side by side`, by as many psql at the same time as the backup has connections, tables dealt out by size: what the server
 *   can give to somebody who needs no processor himself.
 * - `pg_dump -Fc` of the database, which holds nothing but this tenant, into a file.
 * - ours: `backupTenant` in a process of its own, into a filesystem store: snapshot, catalogue, COPY, fingerprints, compression, SHA-256, fsync,
 *   manifest; with gzip, and with zstd.
 *
 * `npm run bench -- backup [--megabytes 1000] [--rounds 3] [--connections 2] [--large]`; `--large` measures memory with ten times the data too.
 */
const { values: options } = parseArgs({
  options: {
    megabytes: { type: "string", default: "1000" },
    rounds: { type: "string", default: "3" },
    connections: { type: "string", default: "2" },
    large: { type: "boolean", default: false },
  },
});
const megabytes = Number(options.megabytes);
const connections = Number(options.connections);

const SERVER_SETTINGS = { shared_buffers: "512MB", max_wal_size: "8GB", fsync: "off", autovacuum: "off" };

const folder = await mkdtemp(join(tmpdir(), "rowback-bench-"));
const tools = await clientTools();
try {
  const large = options.large ? await onServer(megabytes * 10, (url) => backUp(url, false)) : null;
  const figures = await onServer(megabytes, compare);
  report({ bench: "backup", ...figures, peak_rss_mib_ten_times: large === null ? null : Math.round(large.peakRssMib) });
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function compare(url: string): Promise<Record<string, number>> {
  const queries = await copyQueries(url);
  const dump = join(folder, "tenant.dump");
  let ours = await backUp(url, true);
  let zstd = await backUp(url, true, "zstd");
  console.log(`${ours.rowCount} rows, ${Math.round(ours.rawBytes / 1e6)} MB of COPY text, verified`);
  const took = await inTurns(Number(options.rounds), {
    drain: () => drain(url, [queries]),
    drainSideBySide: () => drain(url, dealOut(queries, connections)),
    gzip: async () => {
      ours = await backUp(url, false);
      return ours.seconds;
    },
    zstd: async () => {
      zstd = await backUp(url, false, "zstd");
      return zstd.seconds;
    },
    pgDump: () =>
      seconds(() => run(tools.pgDump, ["-Fc", "-f", dump, "-d", withoutPassword(url)], { env: password(url) })),
  });
  const { size: dumped } = await stat(dump);
  return {
    megabytes: Math.round(ours.rawBytes / 1e6),
    megabytes_per_second: Math.round(ours.rawBytes / 1e6 / took("gzip")),
    ratio_to_copy_drain: ratio(took("drain"), took("gzip")),
    ratio_to_copy_drain_side_by_side: ratio(took("drainSideBySide"), took("gzip")),
    ratio_to_pg_dump_fc: ratio(took("pgDump"), took("gzip")),
    size_ratio_to_pg_dump_fc: ratio(ours.storedBytes, dumped),
    peak_rss_mib: Math.round(ours.peakRssMib),
    zstd_megabytes_per_second: Math.round(zstd.rawBytes / 1e6 / took("zstd")),
    zstd_ratio_to_copy_drain: ratio(took("drain"), took("zstd")),
    zstd_ratio_to_copy_drain_side_by_side: ratio(took("drainSideBySide"), took("zstd")),
    zstd_ratio_to_pg_dump_fc: ratio(took("pgDump"), took("zstd")),
    zstd_size_ratio_to_pg_dump_fc: ratio(zstd.storedBytes, dumped),
    zstd_peak_rss_mib: Math.round(zstd.peakRssMib),
    connections,
  };
}

async function onServer<T>(size: number, fn: (url: string) => Promise<T>): Promise<T> {
  const server = await startPostgres({ distribution: "debian", settings: SERVER_SETTINGS });
  try {
    console.log(`loading ${size} MB …`);
    console.log(`loaded in ${Math.round(await seconds(() => loadTenant(server.url, size)))} s`);
    return await fn(server.url);
  } finally {
    await server.stop();
  }
}

function backUp(url: string, verify: boolean, compression: "gzip" | "zstd" = "gzip"): Promise<BackupFigures> {
  return backUpInProcess(folder, { url, connections, verify, compression });
}

interface Query {
  readonly select: string;
  readonly bytes: number;
}

/** The backup's own statements, without `COPY (…) TO STDOUT`. */
async function copyQueries(url: string): Promise<Query[]> {
  const tenancy = { mode: "column", column: "tenant_id" } as const;
  const source = openSource({ id: "bench", connectionString: url, tenancy, rules: [], maxConnections: 1 });
  try {
    const catalog = await source.connect((client) => readCatalog(client));
    const request = { tenancy, tenantKey: BENCH_TENANT, tables: null };
    const plan = planBackup(catalog, planScopes(catalog, tenancy, []), request);
    return plan.tables.map((table) => ({
      select: table.copy.slice("COPY (".length, -") TO STDOUT".length),
      bytes: table.source.bytes,
    }));
  } finally {
    await source.close();
  }
}

/** Largest first, each to whoever has least. */
function dealOut(queries: readonly Query[], hands: number): Query[][] {
  const dealt = Array.from({ length: hands }, () => ({ bytes: 0, queries: [] as Query[] }));
  for (const query of queries.toSorted((a, b) => b.bytes - a.bytes)) {
    const least = dealt.toSorted((a, b) => a.bytes - b.bytes)[0];
    least?.queries.push(query);
    if (least !== undefined) least.bytes += query.bytes;
  }
  return dealt.map((hand) => hand.queries);
}

function drain(url: string, hands: readonly (readonly Query[])[]): Promise<number> {
  const scripts = hands.map((queries) => queries.map(({ select }) => `\\copy (${select}) TO '/dev/null'\n`).join(""));
  const args = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", withoutPassword(url)];
  return seconds(() => Promise.all(scripts.map((input) => run(tools.psql, args, { input, env: password(url) }))));
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
