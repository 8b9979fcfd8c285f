import { z } from "zod";
import { quoteLiteral, quoteName } from "./identifiers.ts";

const Text = z.string();
const Texts = z.array(z.string());
const Oids = z.array(z.int());

/** What the queries of ddl-sql.ts answer. Names and definitions come quoted from the server. */
export const DdlRows = {
  relation: z.object({
    oid: z.int(),
    schema: Text,
    name: Text,
    depth: z.int(),
    unlogged: z.boolean(),
    foreign: z.boolean(),
    partitionKey: Text.nullable(),
    bound: Text.nullable(),
    parents: Texts,
    parentOids: Oids,
  }),
  column: z.object({
    oid: z.int(),
    name: Text,
    type: Text,
    notNull: z.boolean(),
    generated: z.enum(["", "s", "v"]),
    identity: z.enum(["", "a", "d"]),
    default: Text.nullable(),
    collation: Text.nullable(),
    sequence: Text.nullable(),
  }),
  sequence: z.object({
    schema: Text,
    name: Text,
    type: Text,
    start: Text,
    increment: Text,
    min: Text,
    max: Text,
    cache: Text,
    cycle: z.boolean(),
    identity: z.boolean(),
    ownedBy: Text.nullable(),
  }),
  type: z.object({
    oid: z.int(),
    schema: Text,
    name: Text,
    kind: z.enum(["b", "d", "e", "c", "r"]),
    extension: z.object({ name: Text, schema: Text }).nullable(),
    labels: Texts.nullable(),
    base: Text.nullable(),
    default: Text.nullable(),
    collation: Text.nullable(),
    notNull: z.boolean(),
    checks: Texts,
    attributes: Texts.nullable(),
    subtype: Text.nullable(),
    needs: Oids,
  }),
  constraint: z.object({
    table: Text,
    name: Text,
    kind: z.enum(["p", "u", "x", "c", "f"]),
    definition: Text,
    inside: z.boolean(),
    refersTo: Text,
  }),
  index: z.object({ definition: Text, table: Text }),
};

type Relation = z.infer<typeof DdlRows.relation>;
type Column = z.infer<typeof DdlRows.column>;
type Sequence = z.infer<typeof DdlRows.sequence>;
type Type = z.infer<typeof DdlRows.type>;
type Constraint = z.infer<typeof DdlRows.constraint>;

export interface DdlParts {
  readonly relations: readonly Relation[];
  readonly columns: readonly Column[];
  readonly sequences: readonly Sequence[];
  readonly types: readonly Type[];
  readonly constraints: readonly Constraint[];
  readonly indexes: readonly z.infer<typeof DdlRows.index>[];
}

/** One script, in an order in which every statement finds what it needs. Pure. */
export function writeDdl(parts: DdlParts): string {
  const sequences = new Map(parts.sequences.map((sequence) => [sequence.name, sequence]));
  const free = [...sequences.values()].filter((sequence) => !sequence.identity);
  const columns = Map.groupBy(parts.columns, (column) => column.oid);
  const statements = [
    "SET search_path = ''",
    ...schemas(parts),
    ...extensions(parts.types),
    ...needsFirst(parts.types.filter((type) => type.extension === null && type.kind !== "b")).map(createType),
    ...free.map((sequence) => `CREATE SEQUENCE ${sequence.name} AS ${sequence.type} ${sequenceOptions(sequence)}`),
    ...parentsFirst(parts.relations).map((relation) =>
      createRelation(relation, columns.get(relation.oid) ?? [], sequences, parts.relations),
    ),
    ...owners(parts.sequences),
    ...parts.constraints.filter(({ kind }) => kind !== "f").map(addConstraint),
    ...parts.indexes.map(({ definition, table }) => definition.replace(` ON ONLY ${table} `, () => ` ON ${table} `)),
    ...parts.constraints.filter(({ kind, inside }) => kind === "f" && inside).map(addConstraint),
  ];
  const outside = parts.constraints
    .filter(({ inside }) => !inside)
    .map(
      (key) => `-- Left out: foreign key ${oneLine(key.name)} of ${oneLine(key.table)}, to ${oneLine(key.refersTo)}.\n`,
    );
  return `${statements.map((statement) => `${statement};\n`).join("")}${outside.join("")}`;
}

function schemas({ relations, sequences, types }: DdlParts): string[] {
  const names = [...relations, ...sequences, ...types].map(({ schema }) => schema);
  const extensionSchemas = types.flatMap(({ extension }) => extension?.schema ?? []);
  return [...new Set([...names, ...extensionSchemas])]
    .toSorted()
    .map((name) => `CREATE SCHEMA IF NOT EXISTS ${quoteName(name)}`);
}

function extensions(types: readonly Type[]): string[] {
  const byName = new Map(
    types.flatMap(({ extension }) => (extension === null ? [] : [[extension.name, extension.schema]])),
  );
  return [...byName].map(
    ([name, schema]) => `CREATE EXTENSION IF NOT EXISTS ${quoteName(name)} SCHEMA ${quoteName(schema)}`,
  );
}

function createType(type: Type): string {
  switch (type.kind) {
    case "e":
      return `CREATE TYPE ${type.name} AS ENUM (${(type.labels ?? []).map(quoteLiteral).join(", ")})`;
    case "c":
      return `CREATE TYPE ${type.name} AS (${(type.attributes ?? []).join(", ")})`;
    case "r":
      return `CREATE TYPE ${type.name} AS RANGE (SUBTYPE = ${type.subtype ?? ""})`;
    default: {
      const options = [
        type.collation === null ? "" : ` COLLATE ${type.collation}`,
        type.default === null ? "" : ` DEFAULT ${type.default}`,
        type.notNull ? " NOT NULL" : "",
        ...type.checks.map((check) => ` ${check}`),
      ];
      return `CREATE DOMAIN ${type.name} AS ${type.base ?? ""}${options.join("")}`;
    }
  }
}

function createRelation(
  relation: Relation,
  columns: readonly Column[],
  sequences: ReadonlyMap<string, Sequence>,
  all: readonly Relation[],
): string {
  const kind = relation.unlogged ? "UNLOGGED TABLE" : "TABLE";
  const partitionBy = relation.partitionKey === null ? "" : ` PARTITION BY ${relation.partitionKey}`;
  if (relation.bound !== null) {
    return `CREATE ${kind} ${relation.name} PARTITION OF ${relation.parents[0] ?? ""} ${relation.bound}${partitionBy}`;
  }
  const lines = columns.map((column) => `  ${columnDefinition(column, sequences)}`).join(",\n");
  const inside = relation.parents.filter((_, index) => all.some(({ oid }) => oid === relation.parentOids[index]));
  const inherits = inside.length === 0 ? "" : ` INHERITS (${inside.join(", ")})`;
  return `CREATE ${kind} ${relation.name} (\n${lines}\n)${inherits}${partitionBy}`;
}

function columnDefinition(column: Column, sequences: ReadonlyMap<string, Sequence>): string {
  const parts = [column.name, column.type];
  if (column.collation !== null) parts.push(`COLLATE ${column.collation}`);
  if (column.notNull) parts.push("NOT NULL");
  if (column.generated !== "") {
    parts.push(`GENERATED ALWAYS AS (${column.default ?? ""}) ${column.generated === "s" ? "STORED" : "VIRTUAL"}`);
  } else if (column.identity !== "") {
    const sequence = column.sequence === null ? undefined : sequences.get(column.sequence);
    const options = sequence === undefined ? "" : ` (SEQUENCE NAME ${sequence.name} ${sequenceOptions(sequence)})`;
    parts.push(`GENERATED ${column.identity === "a" ? "ALWAYS" : "BY DEFAULT"} AS IDENTITY${options}`);
  } else if (column.default !== null) {
    parts.push(`DEFAULT ${column.default}`);
  }
  return parts.join(" ");
}

function sequenceOptions({ start, increment, min, max, cache, cycle }: Sequence): string {
  return `INCREMENT BY ${increment} MINVALUE ${min} MAXVALUE ${max} START WITH ${start} CACHE ${cache}${cycle ? " CYCLE" : ""}`;
}

function owners(sequences: readonly Sequence[]): string[] {
  return sequences.flatMap(({ name, ownedBy }) =>
    ownedBy === null ? [] : [`ALTER SEQUENCE ${name} OWNED BY ${ownedBy}`],
  );
}

function addConstraint({ table, name, definition }: Constraint): string {
  return `ALTER TABLE ${table} ADD CONSTRAINT ${name} ${definition}`;
}

/** A type may be made only after those it is made of. */
function needsFirst(types: readonly Type[]): Type[] {
  return sortByNeeds(types, (type) => type.needs);
}

/** Partitions after what they are a part of, inheriting tables after what they inherit from. */
function parentsFirst(relations: readonly Relation[]): Relation[] {
  return sortByNeeds(
    relations.filter((relation) => !relation.foreign),
    (relation) => relation.parentOids,
  );
}

function sortByNeeds<T extends { readonly oid: number }>(
  items: readonly T[],
  needs: (item: T) => readonly number[],
): T[] {
  const byOid = new Map(items.map((item) => [item.oid, item]));
  const sorted = new Set<T>();
  const visit = (item: T): void => {
    if (sorted.has(item)) return;
    for (const oid of needs(item)) {
      const needed = byOid.get(oid);
      if (needed !== undefined && needed !== item) visit(needed);
    }
    sorted.add(item);
  };
  for (const item of items) visit(item);
  return [...sorted];
}

function oneLine(name: string): string {
  return name.replace(/[\r\n]+/g, " ");
}
