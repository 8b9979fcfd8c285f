import { tableLabel } from "../postgres/tenancy.ts";
import type { Manifest, ManifestTable, PartRange } from "./manifest.ts";
import { END_FRAME_BYTES } from "./sealed-part.ts";

/** The first way in which a manifest's figures do not add up, as a phrase for people; null when all do. */
export function manifestContradiction(manifest: Manifest): string | null {
  const stands = chainContradiction(manifest);
  if (stands !== null) return stands;
  const tables = new Set<string>();
  for (const table of manifest.tables) {
    const label = tableLabel(table.table);
    if (tables.has(label)) return `table ${label} is listed twice`;
    tables.add(label);
    if (manifest.type === "incremental") continue;
    if (sum(table.ranges, "rows") !== table.fingerprint.rows) return `the rows of ${label} do not add up`;
    if (sum(table.ranges, "rawBytes") !== table.rawBytes) return `the bytes of ${label} do not add up`;
  }
  for (const [number, part] of manifest.parts.entries()) {
    if (part.part !== number) return `part ${number} is not listed`;
    if (manifest.type === "incremental") continue;
    const end = coveredUpTo(manifest.tables, number);
    const tail = manifest.encryption === null ? 0 : END_FRAME_BYTES;
    if (end === null || end + tail !== part.bytes) return `the ranges of part ${number} do not cover it`;
  }
  const stray = manifest.tables.flatMap((table) => table.ranges).find((range) => range.part >= manifest.parts.length);
  return stray === undefined ? null : `a range lies in part ${stray.part}, which does not exist`;
}

function chainContradiction({ type, parentBackupId, baseBackupId, changes, tables }: Manifest): string | null {
  if (type === "full") {
    const standsOn = parentBackupId !== null || baseBackupId !== null || changes !== undefined;
    return standsOn ? "a full backup stands on another" : null;
  }
  if (parentBackupId === null || baseBackupId === null) return "an incremental backup stands on none";
  if (changes === undefined) return "an incremental backup carries no changes";
  return tables.some((table) => table.ranges.length > 0) ? "an incremental backup has ranges of rows" : null;
}

/** Where the ranges of a part end, or null when they leave a gap or overlap. */
function coveredUpTo(tables: readonly ManifestTable[], part: number): number | null {
  const ranges = tables.flatMap((table) => table.ranges.filter((range) => range.part === part));
  let end = 0;
  for (const range of ranges.toSorted((a, b) => a.offset - b.offset)) {
    if (range.offset !== end || range.bytes === 0 || range.rows === 0) return null;
    end += range.bytes;
  }
  return end;
}

function sum(ranges: readonly PartRange[], field: "rows" | "rawBytes"): number {
  return ranges.reduce((total, range) => total + range[field], 0);
}
