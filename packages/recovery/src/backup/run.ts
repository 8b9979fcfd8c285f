import { BackupWriter } from "../archive/backup-writer.ts";
import type { Compression } from "../archive/block.ts";
import { requireKeys } from "../archive/key-ring.ts";
import type { WrittenTable } from "../archive/lane-writer.ts";
import { FORMAT_VERSION, type Manifest, type SequenceState } from "../archive/manifest.ts";
import type { SealKey } from "../archive/sealed-block.ts";
import { RecoveryError } from "../errors.ts";
import { type CatalogCache, readCatalog } from "../postgres/catalog.ts";
import { readDdl } from "../postgres/ddl.ts";
import { planScopes } from "../postgres/discovery.ts";
import { holdTables } from "../postgres/hold-tables.ts";
import { type Snapshot, type SnapshotInfo, withSnapshot } from "../postgres/snapshot.ts";
import { SESSION_SETTINGS } from "../postgres/source.ts";
import { toRecoveryError } from "../postgres/source-error.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import type { VerbContext } from "../verb-context.ts";
import { copyTables } from "./copy-tables.ts";
import { type BackupOutcome, outcomeOf } from "./outcome.ts";
import { type BackupPlan, type PlannedTable, planBackup } from "./plan.ts";
import { observeCopy } from "./progress.ts";
import { readSequences } from "./sequences.ts";
import { backupWarnings } from "./warnings.ts";

/** Two cores of the source at once, at most, for one tenant. */
const CONNECTIONS = 2;

export interface BackupRequest {
  /** UUID; the run's id. */
  readonly backupId: string;
  readonly tenantId: string;
  /** The value that scopes the tenant's rows in the source. */
  readonly tenantKey: string;
  /** `schema.name` or bare names; null for all of the tenant's tables. */
  readonly tables: readonly string[] | null;
  /** The most connections to the source at once; 2 unless told. */
  readonly connections?: number | undefined;
  /** Kept by the caller for as long as it keeps the source: saves reading the catalogue while the schema is the same. */
  readonly catalogCache?: CatalogCache | undefined;
  /** Seals the backup with the tenant's data key; needs the context's `keys`. */
  readonly encrypt?: boolean | undefined;
  /** `gzip` unless told. */
  readonly compression?: Compression | undefined;
  /**
   * Whether a tenant that the source does not hold is backed up as no rows, instead of refused with `tenant_not_in_source`: the state
   * before a restore that brings a deleted tenant back. False unless told.
   */
  readonly mayBeAbsent?: boolean | undefined;
  /** The tenant's remaining quota in bytes; more fails with `quota_exceeded`. */
  readonly maxStoredBytes?: number | null | undefined;
}

interface Copied {
  readonly plan: BackupPlan;
  readonly tables: readonly WrittenTable[];
  readonly sequences: readonly SequenceState[];
  readonly warnings: readonly string[];
  readonly schema: string;
  readonly info: SnapshotInfo;
}

/**
 * Backs up one tenant: all its rows at one snapshot, into parts, and the manifest last. When it throws, or the signal aborts, there is
 * no manifest, and the parts are deleted as far as the store allows (the sweeper collects the rest).
 *
 * @throws RecoveryError `unknown_table`, `table_unprotected`, `tenant_not_in_source`, `source_*`, `key_*`, `store_*`, `cancelled`
 */
export async function backupTenant(ctx: VerbContext, request: BackupRequest): Promise<BackupOutcome> {
  const stop = new AbortController();
  const signal = AbortSignal.any([ctx.signal, stop.signal]);
  const key = await sealingKey(ctx, request);
  const { maxStoredBytes: mostBytes = null, compression } = request;
  const backup = new BackupWriter(ctx.store, request, { signal, mostBytes, key, compression });
  try {
    const maxConnections = request.connections ?? CONNECTIONS;
    const copied = await withSnapshot(ctx.source, { maxConnections, signal }, async (snapshot) => {
      const plan = await planFrom(snapshot, ctx, request);
      await holdTables(
        snapshot.leader,
        plan.catalog,
        plan.tables.map(({ source, scope }) => ({ table: source.table, scope })),
      );
      if (request.mayBeAbsent !== true) await requireTenant(snapshot, plan);
      const observer = observeCopy(plan.tables, ctx.onProgress);
      const tables = await copyTables(snapshot, backup, plan, { connections: maxConnections, stop, observer });
      if (request.mayBeAbsent !== true) requireTenantRow(plan, tables);
      const sequences = await readSequences(snapshot.leader, plan.tables);
      const schema = await readDdl(
        snapshot.leader,
        plan.catalog,
        plan.tables.map(({ source }) => source.table),
      );
      const warnings = backupWarnings(plan.findings, sequences.unreadable);
      return { plan, tables, sequences: sequences.states, warnings, schema, info: snapshot.info };
    });
    const manifest = manifestOf(ctx, request, backup, copied);
    const { sha256, bytes } = await backup.writeManifest(manifest);
    return outcomeOf(manifest, copied, { sha256, bytes });
  } catch (error) {
    const failure: unknown = stop.signal.aborted ? stop.signal.reason : error;
    await backup.abort(failure);
    throw toRecoveryError(failure, { tenantId: request.tenantId, runId: request.backupId, signal: ctx.signal });
  }
}

async function sealingKey(
  { keys }: VerbContext,
  { encrypt, tenantId, backupId }: BackupRequest,
): Promise<SealKey | null> {
  if (encrypt !== true) return null;
  try {
    return await requireKeys(keys).current({ tenantId });
  } catch (error) {
    throw error instanceof RecoveryError ? error.within({ tenantId, runId: backupId }) : error;
  }
}

/** Which of the tenant's tables there are in this snapshot. */
export async function planFrom(
  snapshot: Snapshot,
  { source }: Pick<VerbContext, "source">,
  request: Pick<BackupRequest, "tenantKey" | "tables" | "catalogCache">,
): Promise<BackupPlan> {
  const catalog = await readCatalog(snapshot.leader, request.catalogCache);
  const discovered = planScopes(catalog, source.tenancy, source.rules);
  return planBackup(catalog, discovered, {
    tenancy: source.tenancy,
    tenantKey: request.tenantKey,
    tables: request.tables,
  });
}

/** A backup of some tables need not read the tenants table, so that is asked for the tenant. */
async function requireTenant(snapshot: Snapshot, { tenantQuery }: BackupPlan): Promise<void> {
  if (tenantQuery === null) return;
  const { rowCount } = await snapshot.leader.query(tenantQuery);
  if (rowCount === 0) throw tenantNotInSource();
}

/** A backup that does read the tenants table has found the tenant there, or has found nothing anywhere. */
function requireTenantRow({ tables, tenantTable }: BackupPlan, written: readonly WrittenTable[]): void {
  const at = tables.findIndex(
    ({ source }) => tenantTable !== null && tableLabel(source.table) === tableLabel(tenantTable),
  );
  if (written[at]?.fingerprint.rows === 0) throw tenantNotInSource();
}

export function tenantNotInSource(): RecoveryError {
  return new RecoveryError("tenant_not_in_source", "The source's tenants table holds no such tenant", {
    hint: "Check the tenant's key; a tenant that was deleted from the source can still be restored from its backups.",
  });
}

function manifestOf(ctx: VerbContext, request: BackupRequest, backup: BackupWriter, copied: Copied): Manifest {
  const { info, plan, tables, sequences, schema } = copied;
  return {
    format: "rowback",
    version: FORMAT_VERSION,
    backupId: request.backupId,
    tenantId: request.tenantId,
    sourceId: ctx.source.id,
    tenantKey: request.tenantKey,
    type: "full",
    parentBackupId: null,
    baseBackupId: null,
    createdAt: ctx.clock.now().toISOString(),
    snapshot: { pgSnapshot: info.pgSnapshot, lsn: info.lsn, at: info.at.toISOString() },
    server: { version: info.serverVersion, versionNumber: info.serverVersionNumber, encoding: info.encoding },
    session: SESSION_SETTINGS,
    compression: backup.compression,
    encryption: backup.encryption,
    tables: plan.tables.map((table, at) => manifestTable(table, tables[at])),
    parts: [...backup.parts],
    sequences: [...sequences],
    schema,
  };
}

function manifestTable(
  { source, scope, columns }: PlannedTable,
  written: WrittenTable | undefined,
): Manifest["tables"][number] {
  if (written === undefined)
    throw new RecoveryError("internal", `${tableLabel(source.table)} was planned but not copied`);
  return {
    table: source.table,
    scope,
    columns: columns.map(({ name, type, notNull, identity, attnum }) => ({ name, type, notNull, identity, attnum })),
    key: source.key === null ? null : [...source.key],
    rawBytes: written.rawBytes,
    fingerprint: written.fingerprint,
    ranges: [...written.ranges],
  };
}
