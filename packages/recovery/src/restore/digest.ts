import { createHash } from "node:crypto";
import type { Fingerprint } from "../archive/manifest.ts";
import type { Catalog, CatalogTable } from "../postgres/catalog-types.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import type { RestoreRequest, TriggersMode } from "./plan.ts";

/** What will happen to one table, without its rows. */
export interface TableChange {
  /** `schema.table` */
  readonly table: string;
  readonly inserted: Fingerprint;
  readonly deleted: Fingerprint;
  /** Old and new images of the updated rows. */
  readonly replaced: Fingerprint;
  readonly replacing: Fingerprint;
}

export interface DigestInput {
  readonly request: Pick<RestoreRequest, "backupId" | "mode" | "tables" | "keys">;
  readonly manifestSha256: string;
  readonly triggersMode: TriggersMode;
  readonly changes: readonly TableChange[];
  readonly catalog: Pick<Catalog, "tables" | "foreignKeys">;
}

/** Names the meaning of a digest; grows by one when the meaning changes, so that an old preview never fits a new apply. */
const DIGEST_VERSION = 1;

/**
 * SHA-256 (lower-case hex) of everything that decides what an apply does: the backup, the wishes, the rows that change, and the
 * live schema of the tables they are in. No oid, row order, clock or machine goes in. Pure.
 */
export function planDigest(input: DigestInput): string {
  const changes = input.changes.filter(
    (change) => change.inserted.rows + change.deleted.rows + change.replaced.rows > 0,
  );
  const changed = new Set(changes.map((change) => change.table));
  return createHash("sha256")
    .update(
      canonicalJson({
        format: "rowback restore plan",
        version: DIGEST_VERSION,
        backupId: input.request.backupId,
        manifestSha256: input.manifestSha256,
        mode: input.request.mode,
        tables: input.request.tables === null ? null : [...new Set(input.request.tables)].sort(),
        keys: input.request.keys,
        triggers: input.triggersMode,
        changes: [...changes].sort(byTable),
        schema: input.catalog.tables
          .filter((table) => changed.has(tableLabel(table.table)))
          .map((table) => schemaOf(table))
          .sort(byTable),
        foreignKeys: input.catalog.foreignKeys
          .filter((key) => changed.has(tableLabel(key.from)) || changed.has(tableLabel(key.to)))
          .map((key) => canonicalJson(key))
          .sort(),
      }),
    )
    .digest("hex");
}

/** What of a table's definition decides which rows fit it and what a write to it sets off. */
function schemaOf(table: CatalogTable): { table: string } & Record<string, unknown> {
  return {
    table: tableLabel(table.table),
    kind: table.kind,
    columns: table.columns.map(({ name, type, notNull, generated, identity, default: value }) => ({
      name,
      type,
      notNull,
      generated,
      identity,
      default: value,
    })),
    key: table.key,
    unique: table.uniqueConstraints,
    otherUnique: table.otherUniqueIndexes,
    triggers: table.triggers,
  };
}

/** JSON whose objects have their members in code-unit order, so that equal values have equal text. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    isPlainObject(member)
      ? Object.fromEntries(Object.entries(member).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
      : member,
  );
}

function isPlainObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function byTable(a: { readonly table: string }, b: { readonly table: string }): number {
  return a.table < b.table ? -1 : a.table > b.table ? 1 : 0;
}
