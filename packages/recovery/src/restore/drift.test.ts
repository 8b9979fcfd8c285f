import { describe, expect, it } from "vitest";
import type { ManifestTable } from "../archive/manifest.ts";
import { RecoveryError } from "../errors.ts";
import type { Catalog, CatalogColumn, CatalogTable } from "../postgres/catalog-types.ts";
import type { DiscoveredTable } from "../postgres/discovery.ts";
import { compareSchemas, keepsText } from "./drift.ts";
import type { RestoreRequest } from "./plan.ts";

const COLUMN = { mode: "column", column: "tenant_id" } as const;
const TABLE = { schema: "app", name: "orders" };

function column(name: string, type: string, more: Partial<CatalogColumn> = {}): CatalogColumn {
  return {
    name,
    attnum: 1,
    type,
    typeOid: 1,
    notNull: false,
    generated: null,
    identity: null,
    default: null,
    typeKind: "base",
    baseType: type,
    equality: "OPERATOR(pg_catalog.=)",
    ...more,
  };
}

function liveTable(columns: readonly CatalogColumn[], key: readonly string[] | null = ["id"]): CatalogTable {
  return {
    table: TABLE,
    oid: 1,
    kind: "table",
    persistence: "permanent",
    columns,
    key,
    keyIsPrimary: true,
    uniqueConstraints: [],
    otherUniqueIndexes: [],
    triggers: [],
    rowSecurity: { enabled: false, forced: false, active: false },
    privileges: { usage: true, select: true, insert: true, update: true, delete: true },
    hasInheritanceChildren: false,
    inheritsFrom: [],
    partitions: [],
    estimatedRows: 0,
    bytes: 0,
    ownedSequences: [],
    hasRules: false,
    foreignPartitions: false,
  };
}

const ARCHIVED: ManifestTable = {
  table: TABLE,
  scope: { kind: "direct", column: "tenant_id" },
  columns: ["id", "tenant_id", "note"].map((name) => ({
    name,
    type: name === "note" ? "character varying(20)" : "integer",
    notNull: name === "id",
    identity: null,
  })),
  key: ["id"],
  rawBytes: 0,
  fingerprint: { rows: 0, sum: "0000000000000000" },
  ranges: [],
};
const LIVE = [column("id", "integer"), column("tenant_id", "integer"), column("note", "character varying(20)")];
const DISCOVERED: DiscoveredTable = {
  table: TABLE,
  scope: { kind: "direct", column: "tenant_id" },
  reason: null,
  warnings: [],
};

function compare(
  live: CatalogTable | null,
  request: Pick<RestoreRequest, "tables" | "keys"> = { tables: null, keys: null },
  discovered: DiscoveredTable = DISCOVERED,
): ReturnType<typeof compareSchemas> {
  const catalog: Catalog = {
    stamp: "",
    tables: live === null ? [] : [live],
    foreignKeys: [],
    role: { name: "r", superuser: false, bypassRls: true, canSetReplicationRole: false },
    serverVersionNumber: 180000,
  };
  return compareSchemas({ tables: [ARCHIVED] }, catalog, [discovered], { ...request, tenantKey: "1" }, COLUMN);
}

function codeOf(fn: () => unknown): string {
  try {
    fn();
  } catch (error) {
    return error instanceof RecoveryError ? error.code : "other";
  }
  return "none";
}

describe("compareSchemas", () => {
  it("finds nothing where nothing changed, and maps columns by name", () => {
    const { tables, drift } = compare(liveTable(LIVE.toReversed()));
    expect(drift).toEqual([]);
    expect(tables[0]?.columns.map((one) => one.name)).toEqual(["id", "tenant_id", "note"]);
    expect(tables[0]?.key).toEqual([0]);
  });

  it("lets added columns be, and names them", () => {
    const { tables, drift } = compare(liveTable([...LIVE, column("extra", "text")]));
    expect(drift).toMatchObject([{ kind: "column_added", column: "extra", blocking: false }]);
    expect(tables[0]?.added.map((one) => one.name)).toEqual(["extra"]);
  });

  it.each([
    ["a dropped table", null, "table_missing"],
    ["a dropped column", liveTable(LIVE.slice(0, 2)), "column_dropped"],
    ["another type", liveTable([...LIVE.slice(0, 2), column("note", "integer")]), "column_retyped"],
    ["a shorter text", liveTable([...LIVE.slice(0, 2), column("note", "character varying(10)")]), "column_retyped"],
    [
      "a computed column",
      liveTable([...LIVE.slice(0, 2), column("note", "text", { generated: "stored" })]),
      "column_generated",
    ],
    ["a new column in the key", liveTable([...LIVE, column("shard", "integer")], ["id", "shard"]), "key_changed"],
  ])("blocks %s", (_what, live, kind) => {
    const { tables, drift } = compare(live);
    expect(drift).toContainEqual(expect.objectContaining({ kind, blocking: true }));
    expect(tables).toEqual([]);
  });

  it("blocks a table whose rows can't be told apart any more", () => {
    const { drift, tables } = compare(liveTable(LIVE), undefined, { ...DISCOVERED, scope: { kind: "shared" } });
    expect(drift).toMatchObject([{ kind: "scope_changed", blocking: true }]);
    expect(tables).toEqual([]);
  });

  it("names a tenant's table that the backup does not hold", () => {
    const found = { ...DISCOVERED, table: { schema: "app", name: "invoices" } };
    const { drift } = compareSchemas(
      { tables: [] },
      {
        stamp: "",
        tables: [],
        foreignKeys: [],
        role: { name: "", superuser: true, bypassRls: true, canSetReplicationRole: true },
        serverVersionNumber: 1,
      },
      [found],
      { tables: null, keys: null, tenantKey: "1" },
      COLUMN,
    );
    expect(drift).toMatchObject([{ table: "app.invoices", kind: "table_added", blocking: false }]);
  });

  it("refuses tables and keys that do not fit", () => {
    const live = liveTable(LIVE);
    expect(codeOf(() => compare(live, { tables: ["app.nothing"], keys: null }))).toBe("unknown_table");
    expect(codeOf(() => compare(live, { tables: null, keys: [{ table: "app.orders", keys: [["1", "2"]] }] }))).toBe(
      "invalid_request",
    );
    expect(
      codeOf(() => compare(liveTable(LIVE, null), { tables: null, keys: [{ table: "app.orders", keys: [["1"]] }] })),
    ).toBe("invalid_request");
    expect(compare(live, { tables: null, keys: [{ table: "app.orders", keys: [["1"]] }] }).tables[0]?.chosen).toEqual([
      ["1"],
    ]);
  });
});

describe("keepsText", () => {
  it.each([
    ["smallint", "integer"],
    ["integer", "bigint"],
    ["character varying(5)", "character varying(9)"],
    ["character varying(5)", "text"],
    ["character varying", "text"],
    ["text", "text"],
    ["numeric(10,2)", "numeric(12,2)"],
    ["numeric(10,2)", "numeric"],
    ["bit varying(3)", "bit varying"],
  ])("%s → %s", (from, to) => {
    expect(keepsText(from, to)).toBe(true);
  });

  it.each([
    ["bigint", "integer"],
    ["integer", "text"],
    ["integer", "numeric"],
    ["text", "character varying(9)"],
    ["text", "character varying"],
    ["character varying(9)", "character varying(5)"],
    ["character(5)", "text"],
    ["numeric(10,2)", "numeric(10,3)"],
    ["numeric", "numeric(10,2)"],
    ["timestamp without time zone", "timestamp with time zone"],
    ["app.mood", "text"],
    ["integer[]", "bigint[]"],
  ])("%s ↛ %s", (from, to) => {
    expect(keepsText(from, to)).toBe(false);
  });
});
