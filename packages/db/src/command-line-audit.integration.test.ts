import { execFile } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { hostname } from "node:os";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, expect, test } from "vitest";
import { verifyAuditLog } from "./audit-verification.ts";
import { COMMAND_LINE_USER, commandLineAuthor } from "./command-line.ts";
import { type AuditEntry, listAuditEntries } from "./tables/audit-log.ts";
import { appointOperator, dismissOperator, isOperator } from "./tables/operators.ts";
import { destroyTenantKey, insertTenantKey, noteRotation, rewrapTenantKey } from "./tables/tenant-keys.ts";
import { type ControlFixture, controlFixture, newTenant } from "./testing/control-fixture.ts";

// What commands change next to the database is in the audit log as what requests change: by the statement of the change, in its chain.

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("command-line-audit");
});
afterAll(async () => {
  expect((await verifyAuditLog(control.db, {})).broken).toEqual([]);
  await control.close();
});

const BY = { host: "ops-1", systemUser: "olga" };
const [OLD, NEW] = ["0".repeat(16), "1".repeat(16)];

async function entries(of: string | null): Promise<AuditEntry[]> {
  return (await listAuditEntries(control.db.system, of, {}, { limit: 500 })).items.toReversed();
}

/** Those of no tenant that `deed` makes. */
async function madeBy(deed: () => Promise<unknown>): Promise<AuditEntry[]> {
  const before = (await entries(null)).length;
  await deed();
  return (await entries(null)).slice(before);
}

test("operators: who made and unmade them, from where; what changed nothing is no entry", async () => {
  const { system } = control.db;
  const noted = await madeBy(async () => {
    expect(await appointOperator(system, "ann", BY)).toBe(true);
    expect(await appointOperator(system, "ann", BY)).toBe(false);
    expect(await isOperator(system, "ann")).toBe(true);
    expect(await dismissOperator(system, "ann", BY)).toBe(true);
    expect(await dismissOperator(system, "ann", BY)).toBe(false);
    expect(await isOperator(system, "ann")).toBe(false);
  });
  const who = { userId: COMMAND_LINE_USER, tenantId: null, ip: "127.0.0.1" };
  const [no, yes] = [
    { operator: "ann", isOperator: false },
    { operator: "ann", isOperator: true },
  ];
  expect(noted).toMatchObject([
    { ...who, action: "operator.add", before: no, after: { ...yes, ...BY } },
    { ...who, action: "operator.remove", before: yes, after: { ...no, ...BY } },
  ]);
});

test("npm run operator is noted, with the machine and its user", async () => {
  const main = fileURLToPath(new URL("operator-main.ts", import.meta.url));
  const run = (...args: string[]) =>
    new Promise<string>((resolve, reject) => {
      const env = { DATABASE_URL: control.database.url };
      execFile(process.execPath, [main, ...args], { env }, (error, stdout) =>
        error === null ? resolve(stdout) : reject(error),
      );
    });
  const noted = await madeBy(async () => {
    expect(await run("zoe")).toBe("zoe is an operator\n");
    expect(await run("zoe")).toBe("zoe was an operator already\n");
    expect(await run("zoe", "--remove")).toBe("zoe is no operator any more\n");
  });
  const { systemUser } = commandLineAuthor();
  expect(noted).toMatchObject([
    { action: "operator.add", after: { operator: "zoe", host: hostname(), systemUser } },
    { action: "operator.remove", after: { operator: "zoe", host: hostname(), systemUser } },
  ]);
});

test("data keys: the worker that made one, and who wrapped it anew, in the log of whose key it is; never the key", async () => {
  const { db, sourceId } = control;
  const tenantId = await newTenant(db, sourceId, randomUUID());
  const key = { id: randomUUID(), owner: { tenantId }, wrapped: randomBytes(80), masterKeyId: OLD };
  await insertTenantKey(db.system, key, "worker-7");
  await insertTenantKey(db.system, { ...key, id: randomUUID() }, "worker-8");
  const fresh = { id: key.id, wrapped: randomBytes(80), masterKeyId: NEW };
  expect(await rewrapTenantKey(db.system, { ...fresh, fromMasterKeyId: NEW }, BY)).toBe(false);
  expect(await rewrapTenantKey(db.system, { ...fresh, fromMasterKeyId: OLD }, BY)).toBe(true);
  await destroyTenantKey(db.system, tenantId, randomUUID());
  expect(await rewrapTenantKey(db.system, { ...fresh, fromMasterKeyId: NEW }, BY)).toBe(false);
  const noted = await entries(tenantId);
  expect(noted).toMatchObject([
    {
      userId: "rowback:worker",
      action: "data-key.create",
      before: null,
      after: { keyId: key.id, masterKeyId: OLD, worker: "worker-7" },
    },
    {
      userId: COMMAND_LINE_USER,
      action: "data-key.rewrap",
      ip: "127.0.0.1",
      before: { keyId: key.id, masterKeyId: OLD },
      after: { keyId: key.id, masterKeyId: NEW, ...BY },
    },
  ]);
  for (const secret of [key.wrapped, fresh.wrapped])
    for (const encoding of ["hex", "base64"] as const)
      expect(JSON.stringify(noted)).not.toContain(secret.toString(encoding));
});

test("a source's own data key, and a rotation as a whole, are noted among what is no tenant's", async () => {
  const { db, sourceId } = control;
  const key = { id: randomUUID(), owner: { sourceId }, wrapped: randomBytes(80), masterKeyId: OLD };
  const noted = await madeBy(async () => {
    await insertTenantKey(db.system, key, "worker-7");
    await noteRotation(db.system, { masterKeyId: NEW, rewrapped: 3, failed: 1 }, BY);
  });
  expect(noted).toMatchObject([
    { action: "data-key.create", tenantId: null, sourceId, after: { keyId: key.id } },
    {
      userId: COMMAND_LINE_USER,
      action: "keys.rotate",
      ip: "127.0.0.1",
      after: { masterKeyId: NEW, rewrapped: 3, failed: 1, ...BY },
    },
  ]);
});
