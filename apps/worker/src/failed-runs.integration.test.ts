import { getBackup } from "@rowback/db";
import { smallDisk, smallDiskFault, type TestDatabase, testDatabase, testRole } from "@rowback/local-services/testing";
import { openStore, type StoreConfig } from "@rowback/storage";
import { expect, onTestFinished, test } from "vitest";
import { type WorkerFixture, workerFixture } from "./testing/worker-fixture.ts";

/** One tenant; its rows do not compress, so a backup of it has some 2 MB. */
const SOURCE = `
CREATE SCHEMA app;
CREATE TABLE app.tenants (id text PRIMARY KEY);
CREATE TABLE app.notes (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES app.tenants, body text);
INSERT INTO app.tenants VALUES ('acme');
INSERT INTO app.notes SELECT n, 'acme', encode(sha512(n::text::bytea), 'base64') FROM generate_series(1, 30000) n;
`;

interface Prepared {
  readonly database: TestDatabase;
  readonly role: { readonly name: string; readonly url: string };
}

async function prepare(): Promise<Prepared> {
  const database = await testDatabase("failing-source");
  await database.pool.query(SOURCE);
  const role = await testRole(database);
  await database.pool.query(
    `GRANT USAGE ON SCHEMA app TO ${role.name}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO ${role.name}`,
  );
  return { database, role };
}

async function storedKeys(store: StoreConfig): Promise<string[]> {
  const opened = openStore(store);
  onTestFinished(() => opened.close());
  const keys: string[] = [];
  for await (const { key } of opened.list("")) keys.push(key);
  return keys;
}

/** The run failed with this code and a hint, and nothing of a backup is to be seen anywhere. */
async function expectFailedBackup(
  at: WorkerFixture,
  id: string,
  expected: { readonly attempt: number; readonly error: { readonly code: string; readonly retryable: boolean } },
): Promise<void> {
  const failed = await at.until(id, "failed", 50_000);
  expect(failed).toMatchObject({ ...expected, error: { ...expected.error, hint: expect.any(String) } });
  expect(await getBackup(at.db.system, id)).toMatchObject({ status: "failed", manifestSha256: null, rowCount: null });
}

const HOPELESS: readonly [string, (prepared: Prepared) => Promise<string>, string][] = [
  [
    "a wrong password",
    async ({ role }) => Object.assign(new URL(role.url), { password: "wrong" }).href,
    "source_auth_failed",
  ],
  [
    "a missing privilege",
    async ({ database, role }) => {
      await database.pool.query(`REVOKE SELECT ON app.notes FROM ${role.name}`);
      return role.url;
    },
    "source_privilege_missing",
  ],
  [
    "row-level security that would hide rows",
    async ({ database, role }) => {
      await database.pool.query(
        "ALTER TABLE app.notes ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON app.notes USING (id < 10)",
      );
      return role.url;
    },
    "source_rls_active",
  ],
  [
    "a database that does not exist",
    async ({ role }) => Object.assign(new URL(role.url), { pathname: "/nowhere" }).href,
    "source_not_configured",
  ],
];

test.each(HOPELESS)("%s fails a backup at its first attempt, with a code and a hint", async (_what, urlOf, code) => {
  const prepared = await prepare();
  const at = await workerFixture("hopeless", { sourceUrl: await urlOf(prepared) });
  await at.start();
  const { id } = await at.ask({ kind: "backup" });
  await expectFailedBackup(at, id, { attempt: 1, error: { code, retryable: false } });
  expect(await storedKeys(at.config.store)).toEqual([]);
});

test("a source that is down is tried again, then the run fails with a code and a hint", async () => {
  const at = await workerFixture("down", { sourceUrl: "postgres://nobody@127.0.0.1:1/nothing" });
  await at.start();
  const { id } = await at.ask({ kind: "discovery", maxAttempts: 2 });
  const failed = await at.until(id, "failed");
  expect(failed).toMatchObject({
    attempt: 2,
    error: { code: "source_unreachable", retryable: true, hint: expect.any(String) },
  });
});

test("a store that is down is tried again, then the backup fails and nothing of it is visible", async () => {
  const { role } = await prepare();
  const at = await workerFixture("store-down", { sourceUrl: role.url });
  await at.start(
    {},
    {
      store: {
        driver: "s3",
        bucket: "nowhere",
        region: "us-east-1",
        endpoint: "http://127.0.0.1:1",
        accessKeyId: "x",
        secretAccessKey: "x",
        forcePathStyle: true,
      },
      // A breaker that opens would let the run wait, without using its attempts up.
      breakers: { failures: 1_000, resetMs: 60_000 },
    },
  );
  const { id } = await at.ask({ kind: "backup", maxAttempts: 2 });
  await expectFailedBackup(at, id, { attempt: 2, error: { code: "store_unreachable", retryable: true } });
});

test.skipIf(smallDiskFault() !== null)(
  "a disk that is full is tried again, then the backup fails and leaves nothing",
  async () => {
    const { role } = await prepare();
    const at = await workerFixture("disk-full", { sourceUrl: role.url });
    const store = { driver: "filesystem", root: smallDisk(1).root } as const;
    await at.start({}, { store });
    const { id } = await at.ask({ kind: "backup", maxAttempts: 2 });
    await expectFailedBackup(at, id, { attempt: 2, error: { code: "store_full", retryable: true } });
    expect(await storedKeys(store)).toEqual([]);
  },
);
