import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { testDatabase, testFolder, testRole } from "@rowback/local-services/testing";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type ChainHead, NO_TENANT_CHAIN, verifyAuditLog } from "./audit-verification.ts";
import { openControlDatabase } from "./control-database.ts";
import { insertAuditEntry, listAuditEntries } from "./tables/audit-log.ts";
import { withSystem, withTenant } from "./tenant-context.ts";
import { type ControlFixture, controlFixture, newTenant } from "./testing/control-fixture.ts";

const MIGRATIONS = fileURLToPath(new URL("../migrations", import.meta.url));

let control: ControlFixture;
let tenantId: string;
let otherTenantId: string;
beforeAll(async () => {
  control = await controlFixture("audit-chains");
  for (let n = 1; n <= 5; n += 1) await note(null, n);
});
beforeEach(async () => {
  tenantId = await newTenant(control.db, control.sourceId, randomUUID());
  otherTenantId = await newTenant(control.db, control.sourceId, randomUUID());
  for (let n = 1; n <= 5; n += 1) for (const tenant of [tenantId, otherTenantId]) await note(tenant, n);
});
afterAll(() => control.close());

const note = (of: string | null, n: number) =>
  insertAuditEntry(control.db.system, {
    userId: `user ${n}`,
    action: "settings.change",
    tenantId: of,
    sourceId: control.sourceId,
    ip: n % 2 === 0 ? "2001:db8::1" : "10.0.0.7",
    before: n === 1 ? null : { n: n - 1, nested: { text: 'a "quoted" \\ ü 🚀', half: 0.5 } },
    after: { n },
  });

/** As a superuser who takes the guards away, as one who wants to forge would. */
async function forge(...statements: string[]): Promise<void> {
  const client = new pg.Client({ connectionString: control.database.url });
  await client.connect();
  try {
    await client.query("SET session_replication_role = replica");
    for (const statement of statements) await client.query(statement);
  } finally {
    await client.end();
  }
}

const verify = (anchors: ChainHead[] = []) => verifyAuditLog(control.db, { anchors });

async function heads(): Promise<ChainHead[]> {
  const found: ChainHead[] = [];
  await verifyAuditLog(control.db, { onHead: (head) => found.push(head) });
  return found;
}

/** All entries and heads of a tenant again, as if they had been written like this: what only an anchor can tell. */
const rewriteChain = (of: string): string[] => [
  `DO $$
    DECLARE entry audit_log; last bytea := decode(repeat('00', 32), 'hex'); n bigint := 0;
    BEGIN
      FOR entry IN SELECT * FROM audit_log WHERE tenant_id = '${of}' ORDER BY seq LOOP
        n := n + 1; entry.seq := n; last := sha256(last || convert_to(audit_entry_text(entry), 'UTF8'));
        UPDATE audit_log SET seq = n, hash = last WHERE id = entry.id;
      END LOOP;
      UPDATE audit_chains SET length = n, hash = last WHERE chain_id = '${of}';
    END $$`,
];

describe("a chain a tenant", () => {
  test("is whole when nobody touched it, and each entry stands on the one before", async () => {
    expect(await verify()).toEqual({ chains: 3, entries: 15, broken: [] });
    const { items } = await listAuditEntries(control.db.system, tenantId);
    expect(items.map(({ seq }) => seq)).toEqual([5, 4, 3, 2, 1]);
    expect(new Set(items.map(({ hash }) => hash)).size).toBe(5);
    expect((await heads()).map(({ chain, length }) => [chain, length])).toEqual(
      [tenantId, otherTenantId, NO_TENANT_CHAIN].toSorted().map((chain) => [chain, 5]),
    );
  });

  test("grows without a gap under many writers at once, and takes back what a failed deed noted", async () => {
    const write = (n: number) => withTenant(control.db, tenantId, (client) => insert(client, n));
    const insert = async (client: Parameters<typeof insertAuditEntry>[0], n: number): Promise<void> => {
      await insertAuditEntry(client, { userId: `u${n}`, action: "backup.create", tenantId: tenantId });
      if (n % 5 === 0) throw new Error("the deed failed");
    };
    const done = await Promise.allSettled(Array.from({ length: 40 }, (_, n) => write(n)));
    expect(done.filter(({ status }) => status === "fulfilled")).toHaveLength(32);
    expect((await verify()).broken).toEqual([]);
    expect((await heads()).find(({ chain }) => chain === tenantId)?.length).toBe(5 + 32);
  });

  test("gives time, place and hash itself, whatever the writer says", async () => {
    await withSystem(control.db, (client) =>
      client.query({
        text: `INSERT INTO audit_log (user_id, action, tenant_id, at, seq, hash)
          VALUES ('eve', 'backup.delete', $1, '2001-01-01', 999, decode(repeat('ab', 32), 'hex'))`,
        values: [tenantId],
      }),
    );
    const [newest] = (await listAuditEntries(control.db.system, tenantId)).items;
    expect(newest).toMatchObject({ userId: "eve", seq: 6 });
    expect(newest?.at.getFullYear()).toBeGreaterThan(2020);
    expect((await verify()).broken).toEqual([]);
  });

  test("can't be seen or moved by a tenant, nor moved by the system", async () => {
    const attempt = async (role: string, sql: string): Promise<string> => {
      const client = await control.database.pool.connect();
      try {
        await client.query(`BEGIN; SET LOCAL ROLE ${role}; SET LOCAL rowback.tenant_id = '${tenantId}'`);
        return await client.query(sql).then(
          () => "done",
          (error: unknown) => (error instanceof pg.DatabaseError ? (error.code ?? "?") : String(error)),
        );
      } finally {
        await client.query("ROLLBACK");
        client.release();
      }
    };
    for (const sql of [
      "SELECT * FROM audit_chains",
      "UPDATE audit_chains SET length = 1",
      "DELETE FROM audit_chains",
    ]) {
      expect(await attempt("rowback_tenant", sql), sql).toBe("42501");
    }
    for (const sql of ["UPDATE audit_chains SET length = 1", "DELETE FROM audit_chains", "TRUNCATE audit_chains"]) {
      expect(await attempt("rowback_system", sql), sql).toBe("42501");
    }
  });
});

test("entries from before there were chains are chained by the migration, as a superuser and as a plain owner", async () => {
  for (const attributes of ["SUPERUSER", "CREATEROLE"]) {
    const database = await testDatabase("before-chains");
    const owner = await testRole(database, attributes);
    if (attributes !== "SUPERUSER")
      await database.pool.query(`GRANT rowback_tenant, rowback_system TO ${pg.escapeIdentifier(owner.name)}`);
    await database.pool.query(`GRANT ALL ON SCHEMA public TO ${pg.escapeIdentifier(owner.name)}`);
    const client = new pg.Client({ connectionString: owner.url });
    await client.connect();
    try {
      const files = (await readdir(MIGRATIONS)).toSorted();
      for (const file of files.filter((name) => name < "0013"))
        await client.query(await readFile(join(MIGRATIONS, file), "utf8"));
      await client.query(`BEGIN; SET LOCAL ROLE rowback_system;
        INSERT INTO audit_log (user_id, action, tenant_id, after) SELECT 'ann', 'backup.create', t, to_jsonb(n)
        FROM generate_series(1, 3) n, unnest(ARRAY[gen_random_uuid(), NULL]) t; COMMIT`);
      await client.query(`BEGIN; ${await readFile(join(MIGRATIONS, "0013_audit_chains.sql"), "utf8")}; COMMIT`);
    } finally {
      await client.end();
    }
    const db = openControlDatabase({ url: owner.url, maxConnections: 1, applicationName: "rowback-db-test" });
    try {
      await insertAuditEntry(db.system, { userId: "ann", action: "source.create" });
      expect(await verifyAuditLog(db)).toEqual({ chains: 2, entries: 7, broken: [] });
      await expect(db.system.query({ text: "UPDATE audit_log SET user_id = 'eve'" })).rejects.toThrow(
        /permission|append/,
      );
    } finally {
      await db.close();
    }
  }
});

describe("npm run audit:verify", () => {
  const MAIN = fileURLToPath(new URL("audit-verify-main.ts", import.meta.url));
  const run = (...args: string[]) =>
    new Promise<{ code: number; output: string }>((resolve) => {
      execFile(
        process.execPath,
        [MAIN, ...args],
        { env: { DATABASE_URL: control.database.url } },
        (error, stdout, stderr) => resolve({ code: error === null ? 0 : Number(error.code), output: stdout + stderr }),
      );
    });

  test("says that all is whole, then names the first broken entry and exits 1", async () => {
    const anchor = join(testFolder(), "anchor.jsonl");
    const whole = { code: 0, output: expect.stringMatching(/^\d+ chains with \d+ entries are whole\n$/) };
    expect(await run("--write-anchor", anchor)).toEqual(whole);
    await note(tenantId, 6);
    expect(await run("--anchor", anchor)).toEqual(whole);
    await forge(`UPDATE audit_log SET action = 'backup.read' WHERE seq = 3 AND tenant_id = '${tenantId}'`);
    const broken = await run("--write-anchor", anchor);
    expect(broken.code).toBe(1);
    expect(broken.output).toContain(`BROKEN: tenant ${tenantId}: first at entry 3: `);
    expect(broken.output).toContain("1 of ");
    expect(await run("--anker", anchor)).toMatchObject({ code: 2, output: expect.stringContaining("usage:") });
  });
});

describe("an entry altered, removed or inserted by a superuser", () => {
  test.each([
    ["one field", "UPDATE audit_log SET user_id = 'somebody else' WHERE seq = 3 AND tenant_id = $", 3],
    [
      "a value inside",
      `UPDATE audit_log SET before = jsonb_set(before, '{n}', '7') WHERE seq = 4 AND tenant_id = $`,
      4,
    ],
    ["its time", "UPDATE audit_log SET at = at + interval '1 microsecond' WHERE seq = 2 AND tenant_id = $", 2],
    ["its address", "UPDATE audit_log SET ip = '10.0.0.8' WHERE seq = 1 AND tenant_id = $", 1],
    ["its hash", "UPDATE audit_log SET hash = sha256('x') WHERE seq = 5 AND tenant_id = $", 5],
    ["the first: deleted", "DELETE FROM audit_log WHERE seq = 1 AND tenant_id = $", 1],
    ["one in the middle: deleted", "DELETE FROM audit_log WHERE seq = 3 AND tenant_id = $", 3],
    ["the last: deleted", "DELETE FROM audit_log WHERE seq = 5 AND tenant_id = $", 5],
    ["the last two: deleted", "DELETE FROM audit_log WHERE seq > 3 AND tenant_id = $", 4],
    ["all: deleted", "DELETE FROM audit_log WHERE tenant_id = $", 1],
    [
      "two: swapped",
      "UPDATE audit_log SET seq = CASE seq WHEN 2 THEN -3 ELSE -2 END WHERE seq IN (2, 3) AND tenant_id = $; UPDATE audit_log SET seq = -seq WHERE seq < 0",
      2,
    ],
    [
      "one: moved to another tenant",
      "UPDATE audit_log SET tenant_id = <other>, seq = 6 WHERE seq = 5 AND tenant_id = $",
      5,
    ],
    [
      "one: inserted at the end",
      "INSERT INTO audit_log (user_id, action, tenant_id, seq, hash) VALUES ('x', 'y', $, 6, sha256('x'))",
      6,
    ],
    [
      "one: inserted before the first",
      "INSERT INTO audit_log (user_id, action, tenant_id, seq, hash) VALUES ('x', 'y', $, 0, sha256('x'))",
      0,
    ],
    [
      "the last: deleted, and its head moved back",
      "DELETE FROM audit_log WHERE seq = 5 AND tenant_id = $; UPDATE audit_chains SET length = 4 WHERE chain_id = $",
      4,
    ],
    ["the head: deleted", "DELETE FROM audit_chains WHERE chain_id = $", 1],
    ["the head: another hash", "UPDATE audit_chains SET hash = sha256('x') WHERE chain_id = $", 5],
  ])("is named: %s", async (_, sql, seq) => {
    await forge(...sql.replaceAll("$", `'${tenantId}'`).replace("<other>", `'${otherTenantId}'`).split("; "));
    const { broken } = await verify();
    expect(broken.filter(({ chain }) => chain === tenantId)).toEqual([
      { chain: tenantId, seq, problem: expect.any(String) },
    ]);
    expect(broken.some(({ chain }) => chain === otherTenantId)).toBe(sql.includes("<other>"));
  });

  test("in a chain rewritten as a whole, cut off with its head, or wiped out, differs from the anchor that was kept outside", async () => {
    const anchors = await heads();
    await note(tenantId, 6);
    const brokenAt = async (kept?: ChainHead[]): Promise<Map<string, number>> => {
      const touched = [tenantId, otherTenantId, NO_TENANT_CHAIN];
      const { broken } = await verify(kept);
      return new Map(broken.filter(({ chain }) => touched.includes(chain)).map(({ chain, seq }) => [chain, seq]));
    };
    expect(await brokenAt(anchors)).toEqual(new Map());

    await forge(
      `UPDATE audit_log SET user_id = 'somebody else' WHERE seq = 2 AND tenant_id = '${tenantId}'`,
      ...rewriteChain(tenantId),
      `DELETE FROM audit_log WHERE seq > 3 AND tenant_id = '${otherTenantId}'`,
      ...rewriteChain(otherTenantId),
      "DELETE FROM audit_log WHERE tenant_id IS NULL",
      `DELETE FROM audit_chains WHERE chain_id = '${NO_TENANT_CHAIN}'`,
    );
    // Without the anchor all that is left is in order: that is why one is kept.
    expect(await brokenAt()).toEqual(new Map());
    expect(await brokenAt(anchors)).toEqual(
      new Map([
        [tenantId, 5],
        [otherTenantId, 4],
        [NO_TENANT_CHAIN, 1],
      ]),
    );
  });
});
