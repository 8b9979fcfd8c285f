import type { BackupArchive } from "../../archive/backup-reader.ts";
import type { BackupWriter } from "../../archive/backup-writer.ts";
import type { ManifestTable } from "../../archive/manifest.ts";
import { mapRows, type RowMapper } from "../../changes/moment/schema-map.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import type { PlannedTable } from "../plan.ts";
import type { SourceLook } from "./look-at-source.ts";
import { describeTable } from "./tables-now.ts";
import { writeRows } from "./write-rows.ts";

/**
 * Writes all rows of a moment as a full backup holds them: over the columns that the tables have now, a column that came after a table's last
 * change filled as the server fills it. Everything is durable when it resolves.
 * @throws RecoveryError `schema_drift`, and as `readTable`; `quota_exceeded`, StorageError
 */
export async function writeWhole(
  backup: BackupWriter,
  moment: BackupArchive,
  look: SourceLook,
  { signal, onShare }: { readonly signal: AbortSignal; readonly onShare: (share: number) => void },
): Promise<ManifestTable[]> {
  const found = new Map(moment.manifest.tables.map((entry) => [tableLabel(entry.table), entry]));
  const total = moment.manifest.tables.reduce((sum, entry) => sum + entry.rawBytes, 1);
  const lane = backup.openLane();
  const tables: ManifestTable[] = [];
  let done = 0;
  for (const planned of look.plan.tables) {
    const entry = found.get(tableLabel(planned.source.table));
    const { rawBytes, fingerprint, ranges } = await writeRows(lane, moment, {
      table: entry?.table ?? null,
      map: entry === undefined ? null : toColumnsNow(entry, planned, look),
      onBlock: (_rows, bytes) => onShare(Math.min(1, (done + bytes) / total)),
      signal,
    });
    done += rawBytes;
    tables.push({ ...describeTable(planned), rawBytes, fingerprint, ranges: [...ranges] });
  }
  await lane.finish();
  return tables;
}

function toColumnsNow(entry: ManifestTable, { source, columns }: PlannedTable, { published }: SourceLook): RowMapper {
  const label = tableLabel(source.table);
  const described = published.find(({ table }) => tableLabel(table) === label)?.columns ?? [];
  const missing = new Map(described.map((column) => [column.attnum, column.missing]));
  return mapRows(
    source.table,
    entry.columns,
    columns.map((column) => ({ ...column, missing: missing.get(column.attnum) ?? null })),
  );
}
