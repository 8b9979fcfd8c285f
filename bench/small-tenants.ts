import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { clientTools, startPostgres, startProgram } from "@rowback/local-services";
import { openStore } from "@rowback/storage";
import { z } from "zod";
import { startChild } from "./child-process.ts";
import { startControlPlane } from "./control-plane.ts";
import { copyStatements } from "./copy-statements.ts";
import { inTurns, ratio, report, run, seconds, WORKER_FLAGS } from "./measure.ts";
import { psqlTarget } from "./psql.ts";
import { loadSmallTenants, SMALL_TABLES, smallTenantKeys } from "./small-tenants-data.ts";

/**
 * How many small tenants are backed up in a second, from the request to the recorded outcome, turn by turn with, on the same
 * PostgreSQL 15 with warm caches:
 *
 * - `bareCopy`: the backups' own COPY statements by four psql at the same time, each with one connection and one script, to /dev/null.
 * - `shellLoop`: what people write today: `psql -c "\copy …" | gzip > file` for each table, one after the other; by a sample of the tenants.
 *
 * Ours: a producer's process writes the runs' rows (PostgreSQL 18 with fsync) and enqueues their jobs (Redis with its append-only file);
 * one worker process as it is in production, into a filesystem store: snapshot, COPY, fingerprints, gzip, SHA-256, fsync, manifest, outcome.
 *
 * `npm run bench -- small-tenants [--tenants 1000] [--rows 200] [--rounds 3] [--sample 20] [--concurrency 4]`: rows in each of a
 * tenant's tables; tenants that the shell loop backs up; WORKER_CONCURRENCY.
 */
const { values: options } = parseArgs({
  options: {
    tenants: { type: "string", default: "1000" },
    rows: { type: "string", default: "200" },
    rounds: { type: "string", default: "3" },
    sample: { type: "string", default: "20" },
    concurrency: { type: "string", default: "4" },
  },
});
const tenants = Number(options.tenants);
const sample = Math.min(tenants, Number(options.sample));
const keys = smallTenantKeys(tenants);

/** The queue always has something for the worker. */
const REQUESTS_IN_FLIGHT = 16;
const BARE_CONNECTIONS = 4;
const SERVER_SETTINGS = { shared_buffers: "1GB", max_wal_size: "8GB", fsync: "off", autovacuum: "off" };

const folder = await mkdtemp(join(tmpdir(), "rowback-bench-"));
const tools = await clientTools();
const server = await startPostgres({ distribution: "debian", settings: SERVER_SETTINGS });
try {
  console.log(`loading ${tenants} tenants of ${SMALL_TABLES} tables of ${options.rows} rows …`);
  console.log(
    `loaded in ${Math.round(await seconds(() => loadSmallTenants(server.url, tenants, Number(options.rows))))} s`,
  );
  const statements = await copyStatements(server.url, keys);
  report({ bench: "small-tenants", ...(await compare(statements)) });
} finally {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

async function compare(statements: readonly (readonly string[])[]): Promise<Record<string, number>> {
  const store = join(folder, "store");
  const plane = await startControlPlane({ tenantKeys: keys, store, sourceUrl: server.url });
  const env = { ...plane.env, WORKER_CONCURRENCY: options.concurrency };
  const worker = startProgram(
    process.execPath,
    [...WORKER_FLAGS, new URL("../apps/worker/src/main.ts", import.meta.url).pathname],
    {
      ...process.env,
      ...env,
    },
  );
  const producer = startChild("run-producer", env);
  try {
    const { sourceId, tenantIds } = plane;
    const took = await inTurns(Number(options.rounds), {
      ours: () =>
        seconds(async () => {
          await producer.ask({ sourceId, tenantIds, inFlight: REQUESTS_IN_FLIGHT }, z.null());
          await plane.untilAllSucceeded();
        }),
      bareCopy: () => bareCopy(statements),
      shellLoop: () => shellLoop(statements.slice(0, sample)),
    });
    const stored = await countObjects(store);
    const backups = tenants * (Number(options.rounds) + 1);
    return {
      tenants,
      rows_per_table: Number(options.rows),
      concurrency: Number(options.concurrency),
      tenants_per_second: ratio(tenants, took("ours")),
      bare_copy_tenants_per_second: ratio(tenants, took("bareCopy")),
      shell_loop_tenants_per_second: ratio(sample, took("shellLoop")),
      shell_loop_sample: sample,
      objects_per_backup: ratio(stored.objects, backups),
      kib_per_backup: Math.round(stored.bytes / backups / 1024),
      ratio_to_shell_loop: ratio(took("shellLoop") / sample, took("ours") / tenants),
      ratio_to_bare_copy: ratio(took("bareCopy"), took("ours")),
      load_average: ratio(loadavg()[0] ?? 0, 1),
    };
  } finally {
    await producer.stop();
    await worker.stop();
    await plane.stop();
  }
}

async function bareCopy(statements: readonly (readonly string[])[]): Promise<number> {
  const { target, env } = psqlTarget(server.url);
  const scripts = Array.from({ length: BARE_CONNECTIONS }, (_, hand) =>
    statements
      .filter((_tenant, n) => n % BARE_CONNECTIONS === hand)
      .flat()
      .map((copy) => `${copy};\n`)
      .join(""),
  );
  const args = ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-d", target];
  return seconds(() => Promise.all(scripts.map((input) => run(tools.psql, args, { env, input }))));
}

async function shellLoop(statements: readonly (readonly string[])[]): Promise<number> {
  const { target, env } = psqlTarget(server.url);
  const into = await mkdtemp(join(folder, "shell-"));
  const script = statements.flatMap((copies, tenant) =>
    copies.map((copy, table) => {
      const psql = `${tools.psql} -X -q -d '${target}' -c '${copy.replaceAll("'", `'\\''`)}'`;
      return `${psql} | gzip > '${into}/${tenant}-${table}.gz'\n`;
    }),
  );
  const took = await seconds(() => run("bash", ["-e", "-o", "pipefail"], { env, input: script.join("") }));
  await rm(into, { recursive: true, force: true });
  return took;
}

async function countObjects(root: string): Promise<{ objects: number; bytes: number }> {
  await mkdir(root, { recursive: true });
  const store = openStore({ driver: "filesystem", root });
  const counted = { objects: 0, bytes: 0 };
  for await (const { bytes } of store.list("tenants/")) {
    counted.objects += 1;
    counted.bytes += bytes;
  }
  await store.close();
  return counted;
}
