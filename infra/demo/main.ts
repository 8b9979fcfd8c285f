/**
 * The promise of Rowback, kept on real services in front of your eyes: back up one tenant, lose its data, look at the difference,
 * bring it back, undo that; and bring back a moment between two backups. Nothing is simulated; `proof.ts` checks with plain SQL. `--keep` leaves everything running.
 */
import { readFile } from "node:fs/promises";
import pg from "pg";
import { z } from "zod";
import { tellOfMoments } from "./moment.ts";
import { introduceTenants, OPERATOR, type People } from "./people.ts";
import { check, heading, line, progressBar, table } from "./print.ts";
import { changedTenants, digestTenants, sameTenant } from "./proof.ts";
import { type Cleanup, type RunningSystem, startSystem } from "./services.ts";

const ACME = "00000000-0000-4000-8000-000000000001";

const Discovery = z.looseObject({
  tables: z.array(z.looseObject({ table: z.string(), scope: z.looseObject({ kind: z.string() }).nullable() })),
});
const Row = z.record(z.string(), z.string().nullable());
const Sample = z.looseObject({
  key: Row.nullable(),
  before: Row.nullable(),
  after: Row.nullable(),
  changed: z.array(z.string()),
});
const Plan = z.looseObject({
  digest: z.string(),
  tables: z.array(
    z.looseObject({
      table: z.string(),
      insert: z.number(),
      update: z.number(),
      delete: z.number(),
      unchanged: z.number(),
      samples: z.array(Sample),
    }),
  ),
});
const BackupFigures = z.looseObject({
  rowCount: z.number(),
  rawBytes: z.number(),
  storedBytes: z.number(),
  objectCount: z.number(),
});

async function main(): Promise<void> {
  const keep = process.argv.includes("--keep");
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const)
    process.once(name, () => stop.abort(new Error(`stopped by ${name}`)));
  const cleanups: Cleanup[] = [];
  const started = Date.now();
  try {
    heading("Starting PostgreSQL, Redis, the API and a worker");
    const system = await startSystem(cleanups, stop.signal);
    line(`API ${system.apiUrl}   backups in ${system.store}`);
    const people = await tellTheStory(system, stop.signal);
    console.log(`\nDEMO OK   (${((Date.now() - started) / 1000).toFixed(1)} s)`);
    if (keep) await stayUp(system, people, stop.signal);
  } catch (error) {
    if (!stop.signal.aborted) throw error;
    console.log("\nStopped.");
    process.exitCode = 130;
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
}

async function tellTheStory(system: RunningSystem, signal: AbortSignal): Promise<People> {
  heading("A SaaS product: five customers in shared tables");
  await runSql(system.sampleUrl, "sample-saas.sql");
  const original = await digestTenants(system.sampleUrl);
  const people = await introduceTenants(system, original, signal);
  table(
    ["customer", "rows"],
    people.tenants.map((tenant) => [tenant.name, tenant.rows]),
  );
  await showDiscovery(people);

  const acme = people.member;
  heading("13:00  Back up one tenant, Acme Studio");
  const backup = await acme.run("/v1/backups", {}, progressBar("backup"));
  const figures = BackupFigures.parse(backup.result);
  line(
    `${figures.rowCount} rows, ${kib(figures.rawBytes)} of rows in ${kib(figures.storedBytes)}, ${figures.objectCount} objects, one snapshot`,
  );

  heading("14:32  Somebody at Acme tidies up, and then repairs");
  await runSql(system.sampleUrl, "the-mistake.sql");
  const damaged = await digestTenants(system.sampleUrl);
  check(changedTenants(original, damaged).join() === ACME, "Acme's data is no longer what it was");

  heading("14:40  Preview: what exactly would a restore change?");
  const preview = await acme.run("/v1/restores/preview", { backupId: backup.id, mode: "exact" });
  const plan = Plan.parse(preview.result);
  table(
    ["table", "insert", "update", "delete", "unchanged"],
    plan.tables.map((entry) => [bareName(entry.table), entry.insert, entry.update, entry.delete, entry.unchanged]),
  );
  line("for example:");
  for (const example of changedRows(plan).slice(0, 3)) line(`  ${example}`);

  heading("14:41  Restore, in one transaction");
  const restore = await acme.run(
    "/v1/restores",
    { previewId: preview.id, planDigest: plan.digest },
    progressBar("restore"),
  );
  const restored = await digestTenants(system.sampleUrl);
  check(sameTenant(original, restored, ACME), "Acme is, row for row, what it was at 13:00");
  check(changedTenants(damaged, restored).join() === ACME, "no row of the four other customers was touched");

  heading("14:45  On second thoughts: undo");
  await acme.run(`/v1/restores/${restore.id}/undo`, {}, progressBar("undo   "));
  const undone = await digestTenants(system.sampleUrl);
  check(changedTenants(damaged, undone).length === 0, "everything is, row for row, as it was before the restore");

  const mistake = (): Promise<void> => runSql(system.sampleUrl, "the-mistake-again.sql");
  await tellOfMoments({ people, sampleUrl: system.sampleUrl, tenant: ACME, mistake });
  return people;
}

async function showDiscovery(people: People): Promise<void> {
  heading("Which table belongs to whom? Read from the foreign keys");
  await people.operator.run(`/v1/sources/${people.sourceId}/discovery`, {});
  const discovery = await people.operator.call("GET", `/v1/sources/${people.sourceId}/discovery`, Discovery);
  const byKind = Map.groupBy(discovery.tables, (entry) => entry.scope?.kind ?? "unprotected");
  table(
    ["scope", "tables"],
    [...byKind].map(([kind, entries]) => [kind, entries.map((entry) => bareName(entry.table)).join(", ")]),
  );
}

/** One updated row of each table, now → then. */
function changedRows(plan: z.infer<typeof Plan>): string[] {
  return plan.tables.flatMap((entry) => {
    const sample = entry.samples.find(({ changed }) => changed.length > 0);
    const column = sample?.changed[0];
    if (sample === undefined || column === undefined) return [];
    const key = Object.values(sample.key ?? {}).map((value) => (value === ACME ? "Acme" : value));
    return [
      `${bareName(entry.table)} ${key.join(", ")}: ${column} ${sample.before?.[column]} → ${sample.after?.[column]}`,
    ];
  });
}

function bareName(table: string): string {
  return table.replace("public.", "");
}

async function runSql(databaseUrl: string, file: string): Promise<void> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(await readFile(new URL(file, import.meta.url), "utf8")).finally(() => client.end());
}

async function stayUp(system: RunningSystem, people: People, signal: AbortSignal): Promise<void> {
  heading("Still running; Ctrl-C ends it");
  table(
    ["what", "where"],
    [
      ["API description", `${system.apiUrl}/docs`],
      ["Bull Board", `${system.apiUrl}/admin/queues`],
      ["sample database", system.sampleUrl],
      ["control database", system.controlUrl],
      ["logs", system.folder],
    ],
  );
  line(`operator (${OPERATOR}): ${people.operatorToken}`);
  line(`member of Acme Studio: ${people.memberToken}`);
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener("abort", resolve, { once: true }));
}

function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(0)} KiB`;
}

await main();
