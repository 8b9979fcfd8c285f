import { randomBytes } from "node:crypto";
import { insertRestoreRun, sealSecret, updateSource } from "@rowback/db";
import { JOBS, openQueues } from "@rowback/jobs";
import { testDatabase, testRole } from "@rowback/local-services/testing";
import { openStore } from "@rowback/storage";
import { expect, onTestFinished, test } from "vitest";
import { createLog } from "./log.ts";
import { type WorkerFixture, workerFixture } from "./testing/worker-fixture.ts";

const SOURCE = `
CREATE SCHEMA app;
CREATE TABLE app.tenants (id text PRIMARY KEY);
CREATE TABLE app.notes (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES app.tenants, body text);
INSERT INTO app.tenants VALUES ('acme');
INSERT INTO app.notes SELECT n, 'acme', 'note ' || n FROM generate_series(1, 100) n;
`;

/** Parts of a connection string, each of which fails in a way of its own; so does the password. */
const WRONG = {
  port: "1",
  pathname: "/nowhere",
  username: "nobody",
  search: "?sslmode=require",
  hostname: "no-such-host.invalid",
};

test("no password of a source, and no key, is in a job, a log line, a run, an error or a stored object", async () => {
  const source = await testDatabase("secrets-source");
  await source.pool.query(SOURCE);
  const role = await testRole(source);
  await source.pool.query(`GRANT USAGE ON SCHEMA app TO ${role.name};
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA app TO ${role.name}`);
  const at = await workerFixture("secrets");
  const lines: string[] = [];
  await at.start({ log: createLog("trace", {}, { write: (line) => void lines.push(line) }) });
  const secrets = [at.config.secretKey.toString("base64"), at.config.secretKey.toString("hex")];
  const reachBy = async (url: string): Promise<void> => {
    const { password } = new URL(url);
    secrets.push(password);
    const connection = { kind: "sealed", sealed: sealSecret(url, at.config.secretKey) } as const;
    await updateSource(at.db.system, at.sourceId, { connection });
  };

  await reachBy(role.url);
  await at.until((await at.ask({ kind: "discovery" })).id, "succeeded");
  const backup = await at.until((await at.ask({ kind: "backup" })).id, "succeeded");
  await source.pool.query("DELETE FROM app.notes WHERE id < 10");
  const preview = await askForPreview(at, backup.id);
  await at.until(preview, "succeeded");

  const failing = [];
  for (const part of ["port", "pathname", "username", "search", "hostname"] as const) {
    const url = new URL(role.url);
    url.password = randomBytes(12).toString("hex");
    url[part] = WRONG[part];
    await reachBy(url.href);
    const run = await at.until((await at.ask({ kind: "backup", maxAttempts: 1 })).id, "failed");
    failing.push(run.id);
  }

  const written = {
    "control database": await everyRow(at),
    jobs: await everyJob(at),
    log: lines.join(""),
    store: await everyManifest(at),
  };
  for (const [where, text] of Object.entries(written)) {
    for (const secret of secrets) expect(text.includes(secret), `${secret} in ${where}`).toBe(false);
  }
  // What was looked through is what was written.
  expect(written["control database"]).toContain(preview);
  for (const id of failing) {
    expect(written.jobs).toContain(id);
    expect(written.log).toContain(id);
  }
  expect(written.store).toContain(backup.id);
});

async function askForPreview(at: WorkerFixture, backupId: string): Promise<string> {
  const wish = { backupId, mode: "exact", tables: null, keys: null } as const;
  const asked = {
    kind: "restore_preview",
    tenantId: at.tenantId,
    sourceId: at.sourceId,
    requestedBy: "user-1",
    maxAttempts: JOBS.restore_preview.attempts,
    params: { ...wish, triggers: "suppress", targetSourceId: null },
  } as const;
  const result = await insertRestoreRun(at.db.system, asked, { ...wish, targetSourceId: at.sourceId });
  if (result.outcome !== "created") throw new Error(`expected a new run, got ${result.outcome}`);
  await at.enqueue(result.run);
  return result.run.id;
}

/** Every row of every table of the control database, as text. */
async function everyRow(at: WorkerFixture): Promise<string> {
  const tables = await at.db.pool.query<{ name: string }>(
    "SELECT c.oid::regclass::text AS name FROM pg_class c WHERE relkind IN ('r', 'p') AND relnamespace = 'public'::regnamespace AND has_table_privilege(c.oid, 'SELECT')",
  );
  let text = "";
  for (const { name } of tables.rows) {
    const { rows } = await at.db.pool.query<{ row: string }>(`SELECT t::text AS row FROM ${name} AS t`);
    text += rows.map(({ row }) => row).join("\n");
  }
  return text;
}

async function everyJob(at: WorkerFixture): Promise<string> {
  const queues = openQueues({ redisUrl: at.config.redisUrl, prefix: at.config.queuePrefix }, () => {});
  onTestFinished(() => queues.close());
  const jobs = await Promise.all(queues.queues.map((queue) => queue.getJobs()));
  return JSON.stringify(jobs.flat());
}

async function everyManifest(at: WorkerFixture): Promise<string> {
  const store = openStore(at.config.store);
  onTestFinished(() => store.close());
  let text = "";
  for await (const { key } of store.list("")) {
    if (key.endsWith("manifest.json")) text += Buffer.concat(await (await store.get(key)).toArray()).toString();
  }
  return text;
}
