import type { TableName } from "./tenancy.ts";

/** One stored or generated column; dropped columns never appear. */
export interface CatalogColumn {
  readonly name: string;
  readonly attnum: number;
  /** As `format_type` prints it with an empty search_path: `numeric(10,2)`, `app.mood`, `integer[]`. */
  readonly type: string;
  readonly typeOid: number;
  readonly notNull: boolean;
  /** The database computes it; it is neither backed up nor written. */
  readonly generated: "stored" | "virtual" | null;
  readonly identity: "always" | "by default" | null;
  /** The expression of its default (or of its generation), as SQL that needs no search_path. */
  readonly default: string | null;
  /** The kind of the type after domains are unwrapped. */
  readonly typeKind: "base" | "array" | "enum" | "composite" | "range" | "multirange" | "pseudo";
  /** The type without domain and length, which a literal can be cast to without being cut: `character varying` for `varchar(5)`. */
  readonly baseType: string;
  /**
   * The default B-tree equality operator as SQL that needs no search_path, e.g. `OPERATOR(pg_catalog.=)`,
   * `OPERATOR(public.=)` for citext; null when the type has none (json, xml, point, …).
   * Never write a bare `=`: with an empty search_path citext would silently be compared as text.
   */
  readonly equality: string | null;
}

export interface UniqueConstraint {
  /** The name of the constraint, or of the index where there is only an index. */
  readonly name: string;
  readonly columns: readonly string[];
  readonly primary: boolean;
  readonly deferrable: boolean;
  /** All its columns are NOT NULL (a primary key, or a usable key). */
  readonly notNull: boolean;
  /** Two NULLs are equal (`NULLS NOT DISTINCT`). */
  readonly nullsNotDistinct: boolean;
}

/** A unique or exclusion rule that is not simply a list of columns: partial or expression index, EXCLUDE. */
export interface OtherUniqueIndex {
  readonly name: string;
  /** Its definition as SQL. */
  readonly definition: string;
}

/** A trigger a user made; those that implement constraints never appear. */
export interface CatalogTrigger {
  readonly name: string;
  readonly timing: "before" | "after" | "instead of";
  readonly events: readonly ("insert" | "update" | "delete" | "truncate")[];
  readonly level: "row" | "statement";
  /** As `session_replication_role` selects: origin (the usual), always, replica, disabled. */
  readonly enabled: "origin" | "always" | "replica" | "disabled";
}

/** A sequence that feeds a column (serial or identity). */
export interface OwnedSequence {
  readonly sequence: TableName;
  readonly column: string;
  /** An identity column's own sequence; else a serial's. */
  readonly identity: boolean;
}

export interface CatalogTable {
  readonly table: TableName;
  readonly oid: number;
  /** A partitioned table stands for all its partitions; those never appear by themselves. */
  readonly kind: "table" | "partitioned" | "foreign";
  readonly persistence: "permanent" | "unlogged";
  /** In attnum order. */
  readonly columns: readonly CatalogColumn[];
  /** The primary key's columns in key order, or those of a NOT NULL, non-deferrable unique constraint; null without one. */
  readonly key: readonly string[] | null;
  readonly keyIsPrimary: boolean;
  readonly uniqueConstraints: readonly UniqueConstraint[];
  readonly otherUniqueIndexes: readonly OtherUniqueIndex[];
  readonly triggers: readonly CatalogTrigger[];
  readonly rowSecurity: {
    readonly enabled: boolean;
    readonly forced: boolean;
    /** Policies would filter what this role sees: with `row_security=off` its statements raise. */
    readonly active: boolean;
  };
  readonly privileges: {
    /** On the schema; without it the others are of no use. */
    readonly usage: boolean;
    readonly select: boolean;
    readonly insert: boolean;
    readonly update: boolean;
    readonly delete: boolean;
  };
  /** Rewrite rules: an INSERT, UPDATE or DELETE may become something else. */
  readonly hasRules: boolean;
  /** Plain (non-partition) inheritance: the parent must be read and written with ONLY; children are tables of their own. */
  readonly hasInheritanceChildren: boolean;
  readonly inheritsFrom: readonly TableName[];
  /** Leaf partitions and sub-partitioned tables below it, in name order; empty for other kinds. */
  readonly partitions: readonly TableName[];
  /** A partition is a foreign table: its rows are not of this server's snapshot. */
  readonly foreignPartitions: boolean;
  /** The planner's estimate, -1 when it was never analyzed. Partitions summed. Not exact, and not part of the stamp. */
  readonly estimatedRows: number;
  /** Bytes of table and TOAST by the planner's page count (8 KiB pages as of the last VACUUM/ANALYZE). Partitions summed. */
  readonly bytes: number;
  readonly ownedSequences: readonly OwnedSequence[];
}

export interface ForeignKey {
  readonly constraint: string;
  readonly from: TableName;
  readonly columns: readonly string[];
  readonly to: TableName;
  readonly referenced: readonly string[];
  /** Per column, `referenced[i] <operator> columns[i]` as SQL that needs no search_path. */
  readonly operators: readonly string[];
  readonly deferrable: boolean;
  readonly initiallyDeferred: boolean;
  readonly onDelete: "no action" | "restrict" | "cascade" | "set null" | "set default";
  readonly onUpdate: "no action" | "restrict" | "cascade" | "set null" | "set default";
  readonly matchFull: boolean;
  /** All its columns are NOT NULL: each row has exactly one parent. */
  readonly notNull: boolean;
  /** The server vouches for every row: not NOT VALID, not NOT ENFORCED. */
  readonly enforced: boolean;
  /** It belongs to, or points at, a single partition only; good for ordering, never for finding a tenant. */
  readonly partial: boolean;
}

/** Whom the session acts as. */
export interface CatalogRole {
  readonly name: string;
  readonly superuser: boolean;
  readonly bypassRls: boolean;
  /** May `SET session_replication_role` (suppresses triggers and foreign-key actions). */
  readonly canSetReplicationRole: boolean;
}

export interface Catalog {
  /** Changes exactly when the schema (or what the role may do) does; see catalog-stamp.ts. */
  readonly stamp: string;
  /** In schema, name order (by code unit). */
  readonly tables: readonly CatalogTable[];
  /** In from, constraint name order. */
  readonly foreignKeys: readonly ForeignKey[];
  readonly role: CatalogRole;
  readonly serverVersionNumber: number;
}
