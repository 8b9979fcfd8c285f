import { type ControlDatabase, getBackup, listEpochs, listSegments } from "@rowback/db";
import { type BackupArchive, openMoment } from "@rowback/recovery";
import { tableLabel } from "@rowback/recovery/plans";
import type { ObjectStore } from "@rowback/storage";
import { limitOf } from "./declared.ts";
import type { Point } from "./points.ts";
import { digestOf, type Reference, TABLE_NAMES, type TableRows } from "./reference.ts";
import type { OracleSystem, OracleTenant } from "./system.ts";

/** `account 2, items: 2 rows too many, 1 missing: …` */
export type Mismatch = string;

/** What a moment's archive says of every table beside what PostgreSQL said. */
export async function compareMoment(
  { db, store, system }: { readonly db: ControlDatabase; readonly store: ObjectStore; readonly system: OracleSystem },
  tenant: OracleTenant,
  point: Point,
  wish: { readonly backupId: string; readonly reference: Reference; readonly mostHeldBytes: number },
): Promise<Mismatch[]> {
  const archive = await openPoint(db, store, system, tenant, point, wish);
  const mismatches: Mismatch[] = [];
  for (const { table, columns } of archive.manifest.tables) {
    const expected = wish.reference.get(tenant.account)?.get(table.name);
    if (expected === undefined) {
      mismatches.push(`account ${tenant.account}, ${table.name}: not in the world`);
      continue;
    }
    const found = { columns: columns.map(({ name }) => name), lines: await linesOf(archive, table) };
    const difference = differenceOf(expected, found);
    if (difference !== null) mismatches.push(`account ${tenant.account}, ${table.name}: ${difference}`);
  }
  const known = new Set(archive.manifest.tables.map(({ table }) => tableLabel(table)));
  const missing = TABLE_NAMES.filter((name) => !known.has(`public.${name}`));
  return [...mismatches, ...missing.map((name) => `account ${tenant.account}: ${name} is missing`)];
}

async function openPoint(
  db: ControlDatabase,
  store: ObjectStore,
  { sourceId }: OracleSystem,
  tenant: OracleTenant,
  point: Point,
  { backupId, mostHeldBytes }: { readonly backupId: string; readonly mostHeldBytes: number },
): Promise<BackupArchive> {
  const backup = await getBackup(db.system, backupId);
  const epoch = (await listEpochs(db.system, sourceId)).at(-1)?.epoch;
  if (backup === null || epoch === undefined) throw new Error("no base, or no log");
  const tenantKey = String(tenant.account);
  const { signal } = new AbortController();
  return openMoment(
    { store, signal },
    {
      tenantId: tenant.id,
      tenantKey,
      backupId,
      manifestSha256: backup.manifestSha256,
      limit: limitOf(point),
      mostHeldBytes,
      segments: async function* (fromXid) {
        for await (const segment of listSegments(db.system, { sourceId, epoch, tenantKey, fromXid })) {
          yield { key: segment.objectKey, bytes: segment.storedBytes };
        }
      },
    },
  );
}

/** `X/X` → the last position before it, in 16 digits. */
export function lastBefore(lsn: string): string {
  const [high = "", low = ""] = lsn.split("/");
  const position = (BigInt(`0x${high}`) << 32n) + BigInt(`0x${low}`) - 1n;
  return position.toString(16).padStart(16, "0");
}

async function linesOf(archive: BackupArchive, table: { schema: string; name: string }): Promise<string[]> {
  const pieces: Buffer[] = [];
  for await (const piece of archive.readTable(table)) pieces.push(piece);
  return Buffer.concat(pieces).toString("utf8").split("\n").slice(0, -1).sort();
}

/** Where two sides differ: in their columns, whatever their order, or in their rows; null: nowhere. */
export function differenceOf(expected: TableRows, found: TableRows): string | null {
  const shared = expected.columns.filter((name) => found.columns.includes(name));
  const strange = [...expected.columns, ...found.columns].filter((name) => !shared.includes(name));
  if (strange.length > 0) return `columns ${found.columns.join(", ")} in the place of ${expected.columns.join(", ")}`;
  const [a, b] = [project(expected, shared), project(found, shared)];
  if (digestOf(a) === digestOf(b)) return null;
  const missing = without(a.lines, b.lines);
  const extra = without(b.lines, a.lines);
  return `${missing.length} rows missing, ${extra.length} too many: ${JSON.stringify([missing[0], extra[0]]).slice(0, 400)}`;
}

function project({ columns, lines }: TableRows, names: readonly string[]): TableRows {
  const at = names.map((name) => columns.indexOf(name));
  const picked = lines.map((line) => {
    const fields = line.split("\t");
    return at.map((index) => fields[index] ?? "").join("\t");
  });
  return { columns: names, lines: picked.sort() };
}

function without(lines: readonly string[], others: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const line of others) counts.set(line, (counts.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const left = counts.get(line) ?? 0;
    counts.set(line, left - 1);
    return left <= 0;
  });
}

/** Two references, table by table. */
export function compareReferences(expected: Reference, found: Reference): Mismatch[] {
  return [...expected].flatMap(([account, tables]) =>
    [...tables].flatMap(([table, rows]) => {
      const other = found.get(account)?.get(table);
      const difference = other === undefined ? "missing" : differenceOf(rows, other);
      return difference === null ? [] : [`account ${account}, ${table}: ${difference}`];
    }),
  );
}
