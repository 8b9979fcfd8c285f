import type { Manifest, ManifestColumn, ManifestTable } from "../archive/manifest.ts";
import { RecoveryError } from "../errors.ts";
import type { Catalog, CatalogColumn, CatalogTable } from "../postgres/catalog-types.ts";
import type { DiscoveredTable } from "../postgres/discovery.ts";
import { tenantSchema } from "../postgres/scope-sql.ts";
import { type TableScope, type Tenancy, tableLabel } from "../postgres/tenancy.ts";
import { namedTables, type RestoreRequest, type SchemaDrift } from "./plan.ts";

/** One table of the backup beside the live table it is to be restored into. */
export interface ComparedTable {
  /** `schema.table` */
  readonly label: string;
  readonly table: CatalogTable;
  readonly scope: TableScope;
  readonly archived: ManifestTable;
  /** The archive's columns as the live table has them, in the archive's order. */
  readonly columns: readonly CatalogColumn[];
  /** Positions in `columns` of the key, in key order; null: rows are a multiset. */
  readonly key: readonly number[] | null;
  /** Stored live columns that the archive does not know. */
  readonly added: readonly CatalogColumn[];
  /** Limits the restore to these rows; null: all of them. */
  readonly chosen: readonly (readonly string[])[] | null;
}

export interface SchemaComparison {
  readonly tables: readonly ComparedTable[];
  readonly drift: readonly SchemaDrift[];
}

/**
 * Maps the tables of a backup that a request names onto the live schema, by name, and says where they no longer fit. Pure.
 * Tables with a blocking drift are not among `tables`.
 *
 * @throws RecoveryError `unknown_table` (asked for, but not in the backup), `invalid_request` (keys that do not fit the table's key)
 */
export function compareSchemas(
  manifest: Pick<Manifest, "tables">,
  catalog: Catalog,
  discovered: readonly DiscoveredTable[],
  request: Pick<RestoreRequest, "tables" | "keys" | "tenantKey">,
  tenancy: Tenancy,
): SchemaComparison {
  const live = new Map(catalog.tables.map((table) => [tableLabel(table.table), table]));
  const scopes = new Map(discovered.map((found) => [tableLabel(found.table), found]));
  const tables: ComparedTable[] = [];
  const drift: SchemaDrift[] = [];

  for (const archived of chooseTables(manifest, request)) {
    const label = tableLabel(archived.table);
    const table = live.get(label);
    if (table === undefined) {
      drift.push(blocking(label, "table_missing", null, `${label} is in the backup, but not in the database.`));
      continue;
    }
    const found = driftOf(label, archived, table, scopes.get(label));
    drift.push(...found);
    const scope = scopes.get(label)?.scope ?? null;
    if (scope === null || scope.kind === "shared" || found.some((one) => one.blocking)) continue;
    tables.push(mapTable(label, archived, table, scope, chosenKeys(manifest, archived, table, request)));
  }
  if (namedTables(request) === null) {
    const schema = tenantSchema(tenancy, request.tenantKey);
    drift.push(
      ...addedTables(
        manifest,
        discovered.filter((found) => schema === null || found.table.schema === schema),
      ),
    );
  }
  return { tables, drift };
}

/** The manifest's tables that the request asks for, in the manifest's order. */
function chooseTables(
  manifest: Pick<Manifest, "tables">,
  request: Pick<RestoreRequest, "tables" | "keys">,
): ManifestTable[] {
  const names = namedTables(request);
  if (names === null) return [...manifest.tables];
  const wanted = new Set(names.map((name) => resolveName(manifest, name)));
  return manifest.tables.filter((archived) => wanted.has(archived));
}

/** `schema.table`, or a bare name that only one table of the backup has. */
function resolveName(manifest: Pick<Manifest, "tables">, name: string): ManifestTable {
  const exact = manifest.tables.find((archived) => tableLabel(archived.table) === name);
  const bare = manifest.tables.filter((archived) => archived.table.name === name);
  const found = exact ?? (bare.length === 1 ? bare[0] : undefined);
  if (found !== undefined) return found;
  throw new RecoveryError(
    "unknown_table",
    bare.length === 0 ? `The backup holds no table ${name}.` : `Several tables of the backup are called ${name}.`,
    { table: name, hint: "Name tables as schema.table, as the backup lists them." },
  );
}

function chosenKeys(
  manifest: Pick<Manifest, "tables">,
  archived: ManifestTable,
  table: CatalogTable,
  request: Pick<RestoreRequest, "keys">,
): readonly (readonly string[])[] | null {
  const label = tableLabel(archived.table);
  const entries = (request.keys ?? []).filter((entry) => resolveName(manifest, entry.table) === archived);
  if (entries.length === 0) return null;
  if (table.key === null) {
    throw new RecoveryError("invalid_request", `${label} has no key, so rows of it can't be chosen.`, {
      table: label,
      hint: "Restore the whole table instead.",
    });
  }
  const width = table.key.length;
  const keys = entries.flatMap((entry) => entry.keys);
  if (keys.some((key) => key.length !== width)) {
    throw new RecoveryError("invalid_request", `A key of ${label} has ${width} values: ${table.key.join(", ")}.`, {
      table: label,
      hint: "Give the key's columns in the order of the key.",
    });
  }
  return keys;
}

function driftOf(
  label: string,
  archived: ManifestTable,
  table: CatalogTable,
  discovered: DiscoveredTable | undefined,
): SchemaDrift[] {
  return [
    ...scopeDrift(label, archived, discovered),
    ...archived.columns.flatMap((column) => archivedColumnDrift(label, column, table)),
    ...storedColumns(table)
      .filter((column) => !archived.columns.some((known) => known.name === column.name))
      .map((column) => addedColumnDrift(label, column, table)),
    ...keyDrift(label, archived, table),
  ];
}

function scopeDrift(label: string, archived: ManifestTable, discovered: DiscoveredTable | undefined): SchemaDrift[] {
  const scope = discovered?.scope ?? null;
  if (scope === null || scope.kind === "shared") {
    const reason = discovered?.reason?.message ?? "it counts as nobody's table.";
    return [
      blocking(label, "scope_changed", null, `The tenant's rows of ${label} can no longer be told apart: ${reason}`),
    ];
  }
  if (JSON.stringify(scope) === JSON.stringify(archived.scope)) return [];
  return [
    harmless(
      label,
      "scope_changed",
      null,
      `${label} belongs to its tenant another way than when it was backed up (${archived.scope.kind} then, ${scope.kind} now); today's way is used.`,
    ),
  ];
}

function archivedColumnDrift(label: string, column: ManifestColumn, table: CatalogTable): SchemaDrift[] {
  const live = table.columns.find((candidate) => candidate.name === column.name);
  if (live === undefined) {
    return [blocking(label, "column_dropped", column.name, `${label}.${column.name} was dropped since the backup.`)];
  }
  if (live.generated !== null) {
    return [
      blocking(label, "column_generated", column.name, `${label}.${column.name} is computed by the database now.`),
    ];
  }
  if (live.type === column.type) return [];
  const message = `${label}.${column.name} was ${column.type} when it was backed up and is ${live.type} now`;
  return keepsText(column.type, live.type)
    ? [harmless(label, "column_retyped", column.name, `${message}; every value keeps its text.`)]
    : [blocking(label, "column_retyped", column.name, `${message}.`)];
}

function addedColumnDrift(label: string, column: CatalogColumn, table: CatalogTable): SchemaDrift {
  if (table.key?.includes(column.name)) {
    return blocking(label, "key_changed", column.name, `${label}.${column.name} joined the key since the backup.`);
  }
  return harmless(
    label,
    "column_added",
    column.name,
    `${label}.${column.name} was added since the backup: rows that stay keep its value, rows that come back get its default.`,
  );
}

function keyDrift(label: string, archived: ManifestTable, table: CatalogTable): SchemaDrift[] {
  if (JSON.stringify(archived.key) === JSON.stringify(table.key)) return [];
  return [
    harmless(
      label,
      "key_changed",
      null,
      `The key of ${label} was ${nameKey(archived.key)} and is ${nameKey(table.key)}.`,
    ),
  ];
}

function addedTables(manifest: Pick<Manifest, "tables">, discovered: readonly DiscoveredTable[]): SchemaDrift[] {
  const known = new Set(manifest.tables.map((archived) => tableLabel(archived.table)));
  return discovered
    .filter((found) => found.scope !== null && found.scope.kind !== "shared" && !known.has(tableLabel(found.table)))
    .map((found) => tableLabel(found.table))
    .map((label) =>
      harmless(label, "table_added", null, `${label} is not in the backup; its rows are left as they are.`),
    );
}

function mapTable(
  label: string,
  archived: ManifestTable,
  table: CatalogTable,
  scope: TableScope,
  chosen: readonly (readonly string[])[] | null,
): ComparedTable {
  const columns = archived.columns.flatMap((column) => table.columns.filter((live) => live.name === column.name));
  return {
    label,
    table,
    scope,
    archived,
    columns,
    key: table.key?.map((name) => columns.findIndex((column) => column.name === name)) ?? null,
    added: storedColumns(table).filter((column) => !columns.includes(column)),
    chosen,
  };
}

/** The columns a backup of this table would hold, in its order. */
export function storedColumns(table: CatalogTable): CatalogColumn[] {
  return table.columns.filter((column) => column.generated === null);
}

/** An added column that a row coming back can't be given a value for. */
export function blocksInserts(column: CatalogColumn): boolean {
  return column.notNull && column.default === null && column.identity === null;
}

/**
 * True where every value of the old type is a value of the new one and prints the same text: only then does COPY text written
 * under the old type load into the new one, and compare equal to what the new one prints.
 */
export function keepsText(from: string, to: string): boolean {
  const old = parseType(from);
  const now = parseType(to);
  if (INTEGER_WIDTH[old.name] !== undefined && INTEGER_WIDTH[now.name] !== undefined) {
    return (INTEGER_WIDTH[old.name] ?? 0) <= (INTEGER_WIDTH[now.name] ?? 0);
  }
  if (old.name === "character varying" || old.name === "text") {
    if (now.name === "text") return true;
    return now.name === "character varying" && old.name === now.name && widens(old.modifiers[0], now.modifiers[0]);
  }
  if (old.name === "numeric" && now.name === "numeric") {
    if (now.modifiers.length === 0) return true;
    const [oldPrecision, oldScale = 0] = old.modifiers;
    const [precision, scale = 0] = now.modifiers;
    return oldPrecision !== undefined && precision !== undefined && oldScale === scale && precision >= oldPrecision;
  }
  if (old.name === "bit varying" && now.name === "bit varying") return widens(old.modifiers[0], now.modifiers[0]);
  return false;
}

const INTEGER_WIDTH: Readonly<Record<string, number>> = { smallint: 2, integer: 4, bigint: 8 };

function parseType(type: string): { name: string; modifiers: number[] } {
  const match = /^(?<name>[a-z ]+?)(?:\((?<modifiers>[\d,-]+)\))?$/.exec(type);
  const { name, modifiers } = match?.groups ?? {};
  return { name: name ?? type, modifiers: modifiers?.split(",").map(Number) ?? [] };
}

function widens(from: number | undefined, to: number | undefined): boolean {
  return to === undefined || (from !== undefined && to >= from);
}

function nameKey(key: readonly string[] | null): string {
  return key === null ? "none" : `(${key.join(", ")})`;
}

function blocking(table: string, kind: SchemaDrift["kind"], column: string | null, message: string): SchemaDrift {
  return { table, kind, column, message, blocking: true };
}

function harmless(table: string, kind: SchemaDrift["kind"], column: string | null, message: string): SchemaDrift {
  return { table, kind, column, message, blocking: false };
}
