import { createHash } from "node:crypto";
import type { BackupArchive } from "../../archive/backup-reader.ts";
import { equalFingerprints, FingerprintSum } from "../../archive/fingerprint.ts";
import type { Manifest, ManifestTable } from "../../archive/manifest.ts";
import { RecoveryError } from "../../errors.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import { type TableName, tableLabel } from "../../postgres/tenancy.ts";
import type { TableProgress } from "../../verb-context.ts";
import { claimRows } from "./claim-rows.ts";
import { foldTable } from "./fold-table.ts";
import type { TableChanges } from "./moment-log.ts";
import { damagedLog } from "./row-change.ts";
import { planTable, type TableMoment } from "./table-moment.ts";

/** Text of changes that is held at once; as strings and map entries it takes some three times as much. */
export const MOST_HELD_BYTES = 64 * 1_048_576;

export interface MomentOptions {
  /** `schema.table` of what the archive is to hold; null, or not told: all of the tenant's. */
  readonly tables?: readonly string[] | null | undefined;
  /** In bytes of lines; MOST_HELD_BYTES unless told. */
  readonly mostHeldBytes?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * The tenant at a moment, as if a backup had been taken then: reads as a backup does, so that preview, apply, undo and verification need not
 * know the difference. Every table that has changes is folded once on opening, to know its rows' number and fingerprint. Where tables are
 * chosen, what stands against another one does not matter, unless it tells whose rows of a chosen one are.
 *
 * @throws RecoveryError `moment_unreachable`, `change_log_damaged`, `schema_drift`, `archive_damaged`, `store_*`, `cancelled`
 */
export async function momentOf(
  base: BackupArchive,
  log: TableChanges,
  options: MomentOptions = {},
): Promise<BackupArchive> {
  const { tenantId } = base.manifest;
  try {
    const chosen = chooseTables(base.manifest, options.tables ?? null);
    const plans = await planTables(base, log, chosen, options.mostHeldBytes ?? MOST_HELD_BYTES);
    const moment = new MomentArchive(base, log, plans);
    await moment.measure(chosen, options.signal);
    return moment;
  } catch (error) {
    throw toRecoveryError(error, { tenantId, signal: options.signal });
  }
}

/** Which tables matter, by label. */
interface ChosenTables {
  /** Whether the archive is to hold the table. */
  readonly holds: (label: string) => boolean;
  /** Whether rows of a table that it is to hold are the tenant's because they refer to rows of this one. */
  readonly leanOn: (label: string) => boolean;
}

function chooseTables({ tables }: Manifest, wanted: readonly string[] | null): ChosenTables {
  const named = new Set(wanted);
  const known = new Set(tables.map(({ table }) => tableLabel(table)));
  // Whose rows of a table are that the base does not have is not known yet.
  const isAll = wanted === null || wanted.some((label) => !known.has(label));
  const holds = (label: string): boolean => wanted === null || named.has(label);
  const held = isAll ? tables : tables.filter(({ table }) => holds(tableLabel(table)));
  return { holds, leanOn: (label) => held.some(({ scope }) => leadsTo(scope, label)) };
}

async function planTables(
  base: BackupArchive,
  log: TableChanges,
  chosen: ChosenTables,
  mostHeldBytes: number,
): Promise<Map<string, TableMoment>> {
  const known = new Map(base.manifest.tables.map((table) => [tableLabel(table.table), table]));
  const plans = new Map<string, TableMoment>();
  for (const label of log.tables.map(tableLabel)) {
    const isReferredTo = chosen.leanOn(label);
    if (!chosen.holds(label) && !isReferredTo) continue;
    const plan = await planTable(log, { base: known.get(label) ?? null, label, isReferredTo }, mostHeldBytes);
    if (plan !== null) plans.set(label, plan);
  }
  return plans;
}

function leadsTo(scope: ManifestTable["scope"], label: string): boolean {
  return scope.kind === "via" && scope.path.some(({ to }) => tableLabel(to) === label);
}

class MomentArchive implements BackupArchive {
  manifest: Manifest;
  manifestSha256: string;
  readonly #base: BackupArchive;
  readonly #log: TableChanges;
  readonly #plans: ReadonlyMap<string, TableMoment>;

  constructor(base: BackupArchive, log: TableChanges, plans: ReadonlyMap<string, TableMoment>) {
    this.#base = base;
    this.#log = log;
    this.#plans = plans;
    this.manifest = base.manifest;
    this.manifestSha256 = base.manifestSha256;
  }

  /** Folds every table that has changes once, and sums it up; also those that are only leant on, for what it may find. */
  async measure({ holds }: ChosenTables, signal: AbortSignal | undefined): Promise<void> {
    const tables: ManifestTable[] = [];
    const { manifest } = this.#base;
    const known = new Set(manifest.tables.map(({ table }) => tableLabel(table)));
    for (const table of manifest.tables) {
      const label = tableLabel(table.table);
      const plan = this.#plans.get(label);
      const measured = plan === undefined ? { ...table, ranges: [] } : await this.#measureTable(plan, signal);
      if (holds(label)) tables.push(measured);
    }
    // Tables that were made after the base.
    for (const plan of this.#plans.values()) {
      if (!known.has(plan.label) && holds(plan.label)) tables.push(await this.#measureTable(plan, signal));
    }
    this.manifest = { ...manifest, tables, parts: [] };
    this.manifestSha256 = sha256(JSON.stringify({ base: this.#base.manifestSha256, tables }));
  }

  async *readTable(
    table: TableName,
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): AsyncGenerator<Buffer> {
    const label = tableLabel(table);
    const { tenantId } = this.manifest;
    const entry = this.manifest.tables.find((candidate) => tableLabel(candidate.table) === label);
    if (entry === undefined) {
      throw new RecoveryError("unknown_table", `There was no table ${label} at this moment`, {
        tenantId,
        table: label,
      });
    }
    const plan = this.#plans.get(label);
    if (plan === undefined) {
      yield* this.#base.readTable(table, options);
      return;
    }
    const sum = new FingerprintSum();
    try {
      for await (const rows of this.#fold(plan, options.signal)) {
        options.signal?.throwIfAborted();
        sum.addText(rows);
        yield rows;
      }
    } catch (error) {
      throw toRecoveryError(error, { tenantId, table: label, signal: options.signal });
    }
    if (!equalFingerprints(sum.result(), entry.fingerprint)) {
      throw damagedLog(label, "read again, it gives other rows");
    }
  }

  async verify(
    options: {
      readonly signal?: AbortSignal | undefined;
      readonly onProgress?: ((table: TableProgress) => void) | undefined;
    } = {},
  ): Promise<void> {
    for (const { table, fingerprint, rawBytes } of this.manifest.tables) {
      for await (const _rows of this.readTable(table, options)) {
        // The end of the stream is what counts.
      }
      options.onProgress?.({ table: tableLabel(table), rows: fingerprint.rows, bytes: rawBytes, done: true });
    }
  }

  async #measureTable(plan: TableMoment, signal: AbortSignal | undefined): Promise<ManifestTable> {
    const sum = new FingerprintSum();
    let rawBytes = 0;
    for await (const rows of this.#fold(plan, signal)) {
      sum.addText(rows);
      rawBytes += rows.length;
    }
    const { table, scope, columns, key } = plan;
    const fingerprint = sum.result();
    return {
      table,
      scope,
      columns: [...columns],
      key: key === null ? null : [...key],
      rawBytes,
      fingerprint,
      ranges: [],
    };
  }

  #fold(plan: TableMoment, signal: AbortSignal | undefined): AsyncGenerator<Buffer> {
    return foldTable(plan, {
      log: this.#log,
      base: this.#base,
      tenant: this.manifest.tenantKey,
      claim: (moment, rows) => claimRows(moment, rows, (table) => this.#tableAtMoment(table, signal)),
      signal,
    });
  }

  /** A table's columns and rows at the moment, read without a check of its own: whoever reads it for its rows checks it. */
  #tableAtMoment(
    table: TableName,
    signal: AbortSignal | undefined,
  ): {
    readonly columns: readonly { readonly name: string; readonly type: string }[];
    readonly rows: AsyncIterable<Buffer>;
  } | null {
    const plan = this.#plans.get(tableLabel(table));
    if (plan !== undefined) return { columns: plan.columns, rows: this.#fold(plan, signal) };
    const entry = this.#base.manifest.tables.find((candidate) => tableLabel(candidate.table) === tableLabel(table));
    return entry === undefined ? null : { columns: entry.columns, rows: this.#base.readTable(table, { signal }) };
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
