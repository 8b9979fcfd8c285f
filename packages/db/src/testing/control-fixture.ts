import { randomUUID } from "node:crypto";
import { type TestDatabase, testDatabase } from "@rowback/local-services/testing";
import { type ControlDatabase, openControlDatabase } from "../control-database.ts";
import { migrate } from "../migrate.ts";
import { insertBackupRun } from "../tables/backups.ts";
import type { InsertRunResult } from "../tables/insert-run.ts";
import { insertRun } from "../tables/runs.ts";
import { insertSource } from "../tables/sources.ts";
import { insertTenant } from "../tables/tenants.ts";

/** A migrated control database of its own, with a source and two tenants. Close it in afterAll. */
export interface ControlFixture {
  readonly database: TestDatabase;
  readonly db: ControlDatabase;
  readonly sourceId: string;
  readonly tenantId: string;
  readonly otherTenantId: string;
  /** A queued run of `tenantId` (or of the tenant given); its id. */
  queuedRun(options?: { maxAttempts?: number; tenantId?: string }): Promise<string>;
  /** A queued backup of `tenantId` (or of the tenant given); its id. */
  queuedBackup(options?: { tenantId?: string; parentBackupId?: string }): Promise<string>;
  close(): Promise<void>;
}

export async function controlFixture(name: string): Promise<ControlFixture> {
  const database = await testDatabase(name);
  await migrate(database.url);
  const db = openControlDatabase({ url: database.url, maxConnections: 8, applicationName: "rowback-db-test" });
  const sourceId = await newSource(db);
  const tenantId = await newTenant(db, sourceId, "acme");
  const otherTenantId = await newTenant(db, sourceId, "zenith");
  const asked = { sourceId, requestedBy: "user-1" };
  return {
    database,
    db,
    sourceId,
    tenantId,
    otherTenantId,
    queuedRun: async ({ maxAttempts = 3, tenantId: of = tenantId } = {}) =>
      createdId(await insertRun(db.system, { ...asked, kind: "backup_verify", tenantId: of, maxAttempts })),
    queuedBackup: async ({ tenantId: of = tenantId, parentBackupId } = {}) =>
      createdId(
        await insertBackupRun(
          db.system,
          { ...asked, tenantId: of, maxAttempts: 3 },
          {
            type: parentBackupId === undefined ? "full" : "incremental",
            purpose: "manual",
            tables: null,
            ...(parentBackupId === undefined ? {} : { parent: { parentBackupId, baseBackupId: parentBackupId } }),
          },
        ),
      ),
    close: () => db.close(),
  };
}

export async function newSource(db: ControlDatabase): Promise<string> {
  const source = await insertSource(db.system, {
    name: `source ${randomUUID()}`,
    connection: { kind: "reference", reference: "env:SOURCE_URL" },
    tenancy: { mode: "column", column: "tenant_id" },
  });
  return idOf(source);
}

export async function newTenant(db: ControlDatabase, sourceId: string, key: string): Promise<string> {
  return idOf(await insertTenant(db.system, { sourceId, key, name: key }));
}

function idOf(row: { id: string } | null): string {
  if (row === null) throw new Error("the fixture's row was there already");
  return row.id;
}

export function createdId(result: InsertRunResult): string {
  if (result.outcome !== "created") throw new Error(`expected a new run, got ${result.outcome}`);
  return result.run.id;
}
