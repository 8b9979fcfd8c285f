import { getRestore, insertRestoreRun, type Run } from "@rowback/db";
import { JOBS, RestorePreviewParams } from "@rowback/jobs";
import { type TestDatabase, testDatabase } from "@rowback/local-services/testing";
import { RestorePlan } from "@rowback/recovery/plans";
import { type WorkerFixture, workerFixture } from "./worker-fixture.ts";

/** Two tenants of a small shop. */
export const SHOP = `
CREATE TABLE tenants (id text PRIMARY KEY, name text);
CREATE TABLE customers (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, name text NOT NULL);
CREATE TABLE orders (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, customer_id int NOT NULL REFERENCES customers, total numeric);
INSERT INTO tenants VALUES ('acme', 'Acme'), ('zenith', 'Zenith');
INSERT INTO customers SELECT n, CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'zenith' END, 'customer ' || n FROM generate_series(1, 200) n;
INSERT INTO orders SELECT n, CASE WHEN n % 2 = 0 THEN 'acme' ELSE 'zenith' END, 2 - n % 2 + (n % 50) / 2 * 2, n * 1.5 FROM generate_series(1, 1000) n;
`;

/** A worker fixture on a small shop with two tenants, `acme` (the fixture's) and `zenith`. */
export interface Shop extends WorkerFixture {
  readonly source: TestDatabase;
  /** All rows of a tenant, as text. */
  rows(tenant: string): Promise<string>;
  /** The same, of another database with these tables. */
  rowsIn(database: TestDatabase, tenant: string): Promise<string>;
  backup(): Promise<Run>;
  /** `where`: a moment behind the backup, another database, chosen tables. Returns the queued run. */
  askPreview(
    backupId: string,
    mode?: "exact" | "missing_only",
    where?: Partial<Pick<RestorePreviewParams, "moment" | "targetSourceId" | "tables">>,
  ): Promise<Run>;
  /** The same, and waits for its success. */
  preview(...wish: Parameters<Shop["askPreview"]>): Promise<Run>;
  /** Asks for the restore of a preview; returns the queued run. */
  apply(preview: Run, options?: { readonly maxAttempts?: number }): Promise<Run>;
  undo(restoreId: string, discardNewerChanges?: boolean): Promise<Run>;
}

/** A fresh shop for one test; no worker runs yet. */
export async function shop(name: string): Promise<Shop> {
  const source = await testDatabase(`${name}-source`);
  await source.pool.query(SHOP);
  const fixture = await workerFixture(name, { sourceUrl: source.url });
  const { db, sourceId, tenantId } = fixture;
  const asked = (kind: "restore" | "restore_preview") => ({
    sourceId,
    tenantId,
    requestedBy: "user-1",
    maxAttempts: JOBS[kind].attempts,
  });
  const created = async (result: Awaited<ReturnType<typeof insertRestoreRun>>): Promise<Run> => {
    if (result.outcome !== "created") throw new Error(`expected a new run, got ${result.outcome}`);
    await fixture.enqueue(result.run);
    return result.run;
  };
  const askPreview: Shop["askPreview"] = async (backupId, mode = "exact", where = {}) => {
    const params = RestorePreviewParams.parse({
      backupId,
      mode,
      tables: null,
      keys: null,
      triggers: "suppress",
      targetSourceId: null,
      ...where,
    });
    return await created(
      await insertRestoreRun(
        db.system,
        { ...asked("restore_preview"), kind: "restore_preview", params },
        { ...params, targetSourceId: params.targetSourceId ?? sourceId },
      ),
    );
  };
  return {
    ...fixture,
    source,
    rows: (tenant) => rowsIn(source, tenant),
    rowsIn,
    backup: async () => fixture.until((await fixture.ask({ kind: "backup" })).id, "succeeded"),
    preview: async (...wish) => await fixture.until((await askPreview(...wish)).id, "succeeded"),
    askPreview,
    apply: async (preview, options = {}) => {
      const { digest } = RestorePlan.parse(preview.result);
      const of = await getRestore(db.system, preview.id);
      if (of === null) throw new Error("no preview");
      const wish = RestorePreviewParams.parse(of.params);
      const params = { ...wish, previewRunId: preview.id, planDigest: digest };
      return await created(
        await insertRestoreRun(
          db.system,
          { ...asked("restore"), kind: "restore", params, ...options },
          { ...params, targetSourceId: of.targetSourceId },
        ),
      );
    },
    undo: async (undoOf, discardNewerChanges = false) => {
      const undone = await getRestore(db.system, undoOf);
      const backupId = undone?.preRestoreBackupId;
      if (backupId == null) throw new Error("nothing to undo");
      return await created(
        await insertRestoreRun(
          db.system,
          { ...asked("restore"), kind: "restore", params: { undoOf, discardNewerChanges } },
          { targetSourceId: sourceId, backupId, mode: "exact", tables: null, keys: null, undoOf },
        ),
      );
    },
  };
}

async function rowsIn({ pool }: TestDatabase, tenant: string): Promise<string> {
  const { rows } = await pool.query(
    `SELECT (SELECT array_agg(c ORDER BY id) FROM customers c WHERE tenant_id = $1)::text AS customers,
          (SELECT array_agg(o ORDER BY id) FROM orders o WHERE tenant_id = $1)::text AS orders`,
    [tenant],
  );
  return JSON.stringify(rows);
}

/** What a customer does on a bad day. */
export const MISTAKE = `
DELETE FROM orders WHERE tenant_id = 'acme' AND id <= 100;
UPDATE customers SET name = 'oops' WHERE tenant_id = 'acme' AND id <= 40;
INSERT INTO customers VALUES (9000, 'acme', 'by mistake');
`;
