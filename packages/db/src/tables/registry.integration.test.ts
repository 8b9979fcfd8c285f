import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { withTenant } from "../tenant-context.ts";
import { type ControlFixture, controlFixture, newSource, newTenant } from "../testing/control-fixture.ts";
import { insertAuditEntry, listAuditEntries } from "./audit-log.ts";
import { listMembers, listMemberships, removeMember, setMember } from "./members.ts";
import { addOperator, isOperator } from "./operators.ts";
import { listProtectedTables, replaceProtectedTables } from "./protected-tables.ts";
import { deleteSource, getSource, getSourceConnection, insertSource, listSources, updateSource } from "./sources.ts";
import {
  DEFAULT_TENANT_SETTINGS,
  getTenantSettings,
  updateTenantRules,
  updateTenantSettings,
} from "./tenant-settings.ts";
import { getTenantByKey, insertTenant, listTenants } from "./tenants.ts";

// Sources, tenants, people, settings, audit: what an operator registers.

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("registry");
});
afterAll(() => control.close());

describe("sources", () => {
  test("a name is taken once; the connection is told to the system alone, and changes as a whole", async () => {
    const { system } = control.db;
    const tenancy = { mode: "column", column: "tenant_id" };
    const source = await insertSource(system, {
      name: "shop",
      connection: { kind: "reference", reference: "env:SHOP" },
      tenancy,
    });
    expect(
      await insertSource(system, { name: "shop", connection: { kind: "sealed", sealed: "v1.x" }, tenancy }),
    ).toBeNull();
    const id = source?.id ?? "";
    expect(source).toMatchObject({ name: "shop", tenancy, rules: [], discoveredAt: null });
    expect(JSON.stringify(await listSources(system))).not.toContain("env:SHOP");

    const rules = [{ table: { schema: "public", name: "plans" }, scope: { kind: "shared" } }];
    expect(await updateSource(system, id, { rules })).toMatchObject({ rules, tenancy });
    expect(await getSourceConnection(system, id)).toEqual({ kind: "reference", reference: "env:SHOP" });
    await updateSource(system, id, { connection: { kind: "sealed", sealed: "v1.y" } });
    expect(await getSourceConnection(system, id)).toEqual({ kind: "sealed", sealed: "v1.y" });
    expect(await getSource(system, id)).toMatchObject({ rules });
    expect(await deleteSource(system, id)).toBe("deleted");
    expect(await getSource(system, id)).toBeNull();
    expect(await deleteSource(system, control.sourceId)).toBe("in_use");
  });

  test("a discovery replaces the last one as a whole", async () => {
    const { system } = control.db;
    const sourceId = await newSource(control.db);
    const table = (tableName: string, column: string) => ({
      schemaName: "public",
      tableName,
      scope: { kind: "direct", column },
    });
    await replaceProtectedTables(system, sourceId, [table("a", "x"), table("gone", "x")]);
    const reason = { code: "ambiguous_path", message: "two ways", choices: [["fk1"], ["fk2"]] };
    await replaceProtectedTables(system, sourceId, [
      table("a", "y"),
      { schemaName: "public", tableName: "b", scope: null, unprotectedReason: reason, details: { rows: 5 } },
    ]);
    expect(await listProtectedTables(system, sourceId)).toEqual([
      expect.objectContaining({
        tableName: "a",
        scope: { kind: "direct", column: "y" },
        unprotectedReason: null,
        details: null,
      }),
      expect.objectContaining({ tableName: "b", scope: null, unprotectedReason: reason, details: { rows: 5 } }),
    ]);
    expect((await getSource(system, sourceId))?.discoveredAt).toBeInstanceOf(Date);
    await replaceProtectedTables(system, sourceId, []);
    expect(await listProtectedTables(system, sourceId)).toEqual([]);
  });
});

describe("tenants and people", () => {
  test("a key is taken once per source, and pages go through all tenants", async () => {
    const { system } = control.db;
    const sourceId = await newSource(control.db);
    const keys = ["a", "b", "c"];
    for (const key of keys) await insertTenant(system, { sourceId, key, name: `Tenant ${key}` });
    expect(await insertTenant(system, { sourceId, key: "a", name: "again" })).toBeNull();
    expect(await getTenantByKey(system, sourceId, "a")).toMatchObject({ name: "Tenant a" });
    const first = await listTenants(system, { sourceId }, { limit: 2 });
    const second = await listTenants(system, { sourceId }, { limit: 2, cursor: first.next ?? "" });
    expect([...first.items, ...second.items].map((tenant) => tenant.key)).toEqual(["c", "b", "a"]);
    expect(second.next).toBeNull();
  });

  test("memberships and operators are what was last said", async () => {
    const { system } = control.db;
    const { tenantId, otherTenantId } = control;
    await setMember(system, { userId: "ann", tenantId, role: "viewer" });
    await setMember(system, { userId: "ann", tenantId, role: "admin" });
    await setMember(system, { userId: "ann", tenantId: otherTenantId, role: "member" });
    expect(await listMemberships(system, "ann")).toEqual([
      { tenantId, tenantName: "acme", role: "admin" },
      { tenantId: otherTenantId, tenantName: "zenith", role: "member" },
    ]);
    expect(await withTenant(control.db, tenantId, (client) => listMembers(client, otherTenantId))).toEqual([]);
    expect(await removeMember(system, "ann", tenantId, "ops")).toBe(true);
    expect(await removeMember(system, "ann", tenantId, "ops")).toBe(false);
    expect(await listMemberships(system, "nobody")).toEqual([]);

    await addOperator(system, "ops");
    await addOperator(system, "ops");
    expect(await isOperator(system, "ops")).toBe(true);
  });
});

describe("tenant settings", () => {
  test("the defaults of the code are those of the table", async () => {
    await control.database.pool.query("INSERT INTO tenant_settings (tenant_id) VALUES ($1)", [control.otherTenantId]);
    expect(await getTenantSettings(control.db.system, control.otherTenantId)).toEqual(DEFAULT_TENANT_SETTINGS);
    expect(await getTenantSettings(control.db.system, control.tenantId)).toEqual(DEFAULT_TENANT_SETTINGS);
  });

  test("a change leaves the rest alone, and null lifts the quota", async () => {
    const change = (settings: Parameters<typeof updateTenantSettings>[2]) =>
      updateTenantSettings(control.db.system, control.tenantId, settings);
    expect(await change({ storageQuotaBytes: 5 })).toEqual({ ...DEFAULT_TENANT_SETTINGS, storageQuotaBytes: 5 });
    expect(await change({ backupsPerHour: 0 })).toMatchObject({ storageQuotaBytes: 5, backupsPerHour: 0 });
    expect(await change({ storageQuotaBytes: null })).toMatchObject({ storageQuotaBytes: null, backupsPerHour: 0 });
  });

  test("a tenant changes its own rules, and no limit with them", async () => {
    const { db, sourceId } = control;
    const tenantId = await newTenant(db, sourceId, "ruled");
    const change = (rules: Parameters<typeof updateTenantRules>[1]) =>
      withTenant(db, tenantId, (client) => updateTenantRules(client, rules));
    expect(await change({})).toEqual(DEFAULT_TENANT_SETTINGS);
    expect(await change({ restoresNeedApproval: true })).toEqual({
      ...DEFAULT_TENANT_SETTINGS,
      restoresNeedApproval: true,
    });
    await updateTenantSettings(db.system, tenantId, { storageQuotaBytes: 7 });
    expect(await change({ restoreApprovalHours: 48 })).toEqual({
      ...DEFAULT_TENANT_SETTINGS,
      storageQuotaBytes: 7,
      restoresNeedApproval: true,
      restoreApprovalHours: 48,
    });
  });
});

test("the audit log tells who, what, where, before and after; newest first, page by page", async () => {
  const { db, tenantId, sourceId } = control;
  await withTenant(db, tenantId, async (client) => {
    for (const n of [1, 2, 3]) {
      await insertAuditEntry(client, {
        userId: "ann",
        action: "settings.change",
        tenantId,
        sourceId,
        ip: "10.0.0.7",
        before: { n: n - 1 },
        after: { n },
      });
    }
    const newest = await listAuditEntries(client, tenantId, {}, { limit: 2 });
    expect(newest.items[0]).toMatchObject({
      userId: "ann",
      action: "settings.change",
      ip: "10.0.0.7",
      before: { n: 2 },
      after: { n: 3 },
      runId: null,
    });
    const older = await listAuditEntries(client, tenantId, {}, { limit: 2, cursor: newest.next ?? "" });
    expect([older.items.map((entry) => entry.after), older.next]).toEqual([[{ n: 1 }], null]);
  });
  await insertAuditEntry(db.system, { userId: "ops", action: "source.create", sourceId });
  expect((await listAuditEntries(db.system, null)).items).toMatchObject([{ userId: "ops", tenantId: null }]);
});
