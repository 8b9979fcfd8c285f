import { type BackupArchive, openBackup } from "../archive/backup-reader.ts";
import type { Fingerprint } from "../archive/manifest.ts";
import { RecoveryError } from "../errors.ts";
import { readCatalog } from "../postgres/catalog.ts";
import type { Catalog } from "../postgres/catalog-types.ts";
import { planScopes } from "../postgres/discovery.ts";
import { SESSION_SETTINGS, type SourceClient } from "../postgres/source.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import type { VerbContext } from "../verb-context.ts";
import { findConflicts } from "./conflicts.ts";
import { computeDifference, isChanged, type TableDifference } from "./difference.ts";
import { planDigest } from "./digest.ts";
import { blocksInserts, type ComparedTable, compareSchemas } from "./drift.ts";
import { measureLive } from "./measure.ts";
import { parentsFirst } from "./order.ts";
import type { PlanConflict, RestoreRequest, SchemaDrift, TriggersMode } from "./plan.ts";
import { RestoreProgress } from "./progress.ts";
import { markRecreated } from "./recreate.ts";
import type { RestoreSession } from "./session.ts";
import { readUniqueRules, type UniqueRule } from "./unique-rules.ts";
import { countsWrites } from "./write-counters.ts";

/** The schema side of a restore: known before any row is read. */
export interface OpenedRestore {
  readonly session: RestoreSession;
  readonly tables: readonly ComparedTable[];
  readonly drift: readonly SchemaDrift[];
  readonly warnings: readonly string[];
}

/** The row side: what a preview shows and an apply executes. The rows are in temporary tables of the session. */
export interface PreparedRestore {
  /** Every compared table, in the order of `tables`. */
  readonly differences: readonly TableDifference[];
  readonly rules: readonly UniqueRule[];
  readonly conflicts: readonly PlanConflict[];
  readonly drift: readonly SchemaDrift[];
  /** Labels of the compared tables, parents first. */
  readonly order: readonly string[];
  readonly digest: string;
}

/** Opens what a restore brings back: a backup, or a moment. */
export type OpenTarget = (ctx: VerbContext, request: RestoreRequest) => Promise<BackupArchive>;

/** Opens the backup a request names. @throws RecoveryError `archive_damaged`, `manifest_*`, `key_*`, `invalid_request` */
export async function openArchive(ctx: VerbContext, request: RestoreRequest): Promise<BackupArchive> {
  const { tenantId, backupId, manifestSha256 } = request;
  const archive = await openBackup(ctx.store, {
    tenantId,
    backupId,
    expectManifestSha256: manifestSha256,
    keys: ctx.keys,
    signal: ctx.signal,
  });
  if (archive.manifest.tenantKey !== request.tenantKey) {
    throw new RecoveryError("invalid_request", "The backup is of another tenant key.", {
      tenantId,
      hint: "Restore a tenant's backup under the key it was taken with.",
    });
  }
  return archive;
}

/** Reads the live schema and maps the backup's tables onto it. Inside the restore's transaction. */
export async function openRestore(
  ctx: VerbContext,
  client: SourceClient,
  request: RestoreRequest,
  archive: BackupArchive,
): Promise<OpenedRestore> {
  await adoptSession(client, archive);
  const catalog = await readCatalog(client);
  const { tables, drift } = compareSchemas(
    archive.manifest,
    catalog,
    planScopes(catalog, ctx.source.tenancy, ctx.source.rules),
    request,
    ctx.source.tenancy,
  );
  const triggersMode = chooseTriggersMode(catalog, request.triggers);
  const warnings = await sessionWarnings(client, catalog, request.triggers, triggersMode);
  const progress = new RestoreProgress(tables, ctx.onProgress);
  return { session: { ctx, client, request, archive, catalog, triggersMode, progress }, tables, drift, warnings };
}

/** Text that was written under other settings has to be read, and compared, under them. */
async function adoptSession(client: SourceClient, archive: BackupArchive): Promise<void> {
  for (const setting of TEXT_SETTINGS) {
    const value = archive.manifest.session[setting];
    if (value === undefined || value === SESSION_SETTINGS[setting]) continue;
    await client.query("SELECT set_config($1, $2, true)", [setting, value]);
  }
  // Hash joins of a big difference in memory; the server gives it back at the end of the transaction.
  await client.query("SET LOCAL work_mem = '64MB'");
}

const TEXT_SETTINGS = [
  "DateStyle",
  "IntervalStyle",
  "TimeZone",
  "extra_float_digits",
  "bytea_output",
  "xmlbinary",
  "lc_monetary",
] as const;

function chooseTriggersMode(catalog: Catalog, wish: TriggersMode): TriggersMode {
  return wish === "suppress" && catalog.role.canSetReplicationRole ? "suppress" : "fire";
}

async function sessionWarnings(
  client: SourceClient,
  catalog: Catalog,
  wish: TriggersMode,
  mode: TriggersMode,
): Promise<string[]> {
  const warnings: string[] = [];
  if (wish !== mode) {
    warnings.push(
      `Triggers will fire: the role ${catalog.role.name} may not suppress them (GRANT SET ON PARAMETER session_replication_role, from PostgreSQL 15 on).`,
    );
  }
  if (!(await countsWrites(client))) {
    warnings.push(
      "The server does not count writes (track_counts = off): what triggers write elsewhere goes unnoticed.",
    );
  }
  return warnings;
}

/** Looks at a table's live rows before anything is computed from them; throws to refuse them. */
export type LiveCheck = (compared: ComparedTable, live: Fingerprint) => Promise<void>;

/**
 * Computes what is to be done, what stands in its way, and its digest. Table by table, so that what one table needs to be
 * compared is gone before the next one is read.
 */
export async function prepareRestore(opened: OpenedRestore, checkLive: LiveCheck): Promise<PreparedRestore> {
  const { session, tables } = opened;
  const differences: TableDifference[] = [];
  for (const compared of tables) {
    const measured = await measureLive(session, compared);
    await checkLive(compared, measured.live);
    differences.push(await computeDifference(session, compared, measured));
    session.progress.compared(compared);
  }
  const changed = differences.filter(isChanged);
  const rules = await readUniqueRules(
    session.client,
    changed.map(({ compared }) => compared.table.oid),
  );
  session.progress.enter("checking");
  const exchanges = await markRecreated(session, changed, rules);
  const collisions = await findConflicts(session, changed, rules);
  return {
    differences,
    rules,
    conflicts: [...exchanges, ...collisions],
    drift: [...opened.drift, ...uninsertable(changed)],
    order: orderTables(session.catalog, tables),
    digest: planDigest({
      request: session.request,
      manifestSha256: session.archive.manifestSha256,
      triggersMode: session.triggersMode,
      changes: differences.map((difference) => difference.change),
      catalog: session.catalog,
    }),
  };
}

/** A NOT NULL column without a default, added since the backup, stops only a restore that inserts. */
function uninsertable(changed: readonly TableDifference[]): SchemaDrift[] {
  return changed
    .filter((difference) => difference.change.inserted.rows > 0)
    .flatMap(({ compared }) =>
      compared.added.filter(blocksInserts).map((column) => ({
        table: compared.label,
        kind: "column_added" as const,
        column: column.name,
        message: `${compared.label}.${column.name} was added since the backup, is NOT NULL and has no default: rows can't be brought back.`,
        blocking: true,
      })),
    );
}

function orderTables(catalog: Catalog, tables: readonly ComparedTable[]): string[] {
  return parentsFirst(
    tables.map((compared) => compared.label),
    catalog.foreignKeys.map((key) => ({ child: tableLabel(key.from), parent: tableLabel(key.to) })),
  );
}
