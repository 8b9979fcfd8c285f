import type { Catalog, ForeignKey } from "../postgres/catalog-types.ts";
import { quoteName } from "../postgres/identifiers.ts";
import { fromTable } from "../postgres/scope-sql.ts";
import type { SourceClient } from "../postgres/source.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { ComparedTable } from "./drift.ts";
import type { PlanConflict } from "./plan.ts";
import type { RestoreSession } from "./session.ts";
import { images, temp } from "./temp-tables.ts";
import type { UniqueRule } from "./unique-rules.ts";

/**
 * What the server would refuse if the plan were executed now, found without executing it: foreign keys to and from the changed
 * rows, also from tables outside the plan, and unique or exclusion rules against rows that the plan leaves alone, whosever they are.
 */
export async function findConflicts(
  session: RestoreSession,
  differences: readonly TableDifference[],
  rules: readonly UniqueRule[],
): Promise<PlanConflict[]> {
  const changed = new Map(differences.filter(isChanged).map((difference) => [difference.compared.label, difference]));
  const conflicts: PlanConflict[] = [];
  for (const { compared } of changed.values()) {
    for (const rule of rules.filter((one) => one.table === compared.table.oid)) {
      conflicts.push(...(await findCollisions(session, compared, rule)));
    }
  }
  for (const key of foreignKeysAround(session.catalog, new Set(changed.keys()))) {
    conflicts.push(...(await findMissingParents(session, key, changed)));
    conflicts.push(...(await findAbandonedChildren(session, key, changed)));
  }
  return conflicts;
}

/** The foreign keys that start or end at one of these tables and that the server vouches for. */
export function foreignKeysAround(catalog: Catalog, labels: ReadonlySet<string>): ForeignKey[] {
  return catalog.foreignKeys.filter(
    (key) => key.enforced && !key.partial && (labels.has(tableLabel(key.from)) || labels.has(tableLabel(key.to))),
  );
}

async function findCollisions(
  session: RestoreSession,
  compared: ComparedTable,
  rule: UniqueRule,
): Promise<PlanConflict[]> {
  const { client, catalog } = session;
  const elements = rule.elements.map(({ sql }, n) => `(${sql}) AS "rowback e${n}"`).join(", ");
  const where = rule.predicate === null ? "" : ` WHERE ${rule.predicate}`;
  const coming = `(SELECT "rowback n", ${elements} FROM ${images(compared, "after")} AS i${where})`;
  const staying = `(SELECT tableoid AS "rowback table", ctid AS "rowback id", ${elements} FROM ${fromTable(catalog, compared.table.table)} AS i${where})`;
  const withStaying = `SELECT a."rowback n" FROM ${coming} AS a WHERE EXISTS (
    SELECT FROM ${staying} AS l WHERE ${collide(rule, "a", "l")} AND NOT EXISTS (
      SELECT FROM ${temp(compared, "before")} AS b WHERE b.row_id = l."rowback id" AND b.row_table = l."rowback table"))`;
  const amongThemselves = `SELECT a."rowback n" FROM ${coming} AS a WHERE EXISTS (
    SELECT FROM ${coming} AS o WHERE o."rowback n" <> a."rowback n" AND ${collide(rule, "a", "o")})`;
  // Two EXISTS joined by OR are asked anew for every row, by reading all the others: 12,000 rows that come back took minutes. Alone, each is one join.
  const colliding = rule.kind === "unique" ? `${withStaying} UNION ${amongThemselves}` : withStaying;
  const count = await countRows(client, `SELECT count(*) FROM (${colliding}) AS colliding`);
  if (count === 0) return [];
  const message = `${rowsOf(count)} of ${compared.label} would collide in ${rule.name} with rows that this restore does not touch.`;
  return [{ kind: rule.kind, table: compared.label, constraint: rule.name, rows: count, message }];
}

/** That two rows collide. A NULL collides with nothing, unless the rule says that NULLs are equal. */
export function collide(rule: UniqueRule, left: string, right: string): string {
  return rule.elements
    .map(({ operator }, n) => {
      const [a, b] = [`${left}."rowback e${n}"`, `${right}."rowback e${n}"`];
      return rule.nullsNotDistinct
        ? `(${a} ${operator} ${b} OR (${a} IS NULL AND ${b} IS NULL))`
        : `${a} ${operator} ${b}`;
    })
    .join(" AND ");
}

type Changed = ReadonlyMap<string, TableDifference>;

/** Rows that come and whose parent will not be there. */
async function findMissingParents(session: RestoreSession, key: ForeignKey, changed: Changed): Promise<PlanConflict[]> {
  const child = changed.get(tableLabel(key.from))?.compared;
  if (child === undefined || child.added.some((column) => key.columns.includes(column.name))) return [];
  const parent = changed.get(tableLabel(key.to))?.compared;
  const parentStays =
    parent === undefined
      ? ""
      : ` AND NOT EXISTS (SELECT FROM ${temp(parent, "before")} AS b WHERE b.row_id = p.ctid AND b.row_table = p.tableoid)`;
  const parentComes =
    parent === undefined
      ? ""
      : ` AND NOT EXISTS (SELECT FROM ${images(parent, "after")} AS q WHERE ${references(key, "q", "a")})`;
  const count = await countRows(
    session.client,
    `SELECT count(*) FROM ${images(child, "after")} AS a
     WHERE ${pointsSomewhere(key, "a")}
       AND NOT EXISTS (SELECT FROM ${fromTable(session.catalog, key.to)} AS p WHERE ${references(key, "p", "a")}${parentStays})${parentComes}`,
  );
  if (count === 0) return [];
  return [
    {
      kind: "foreign_key",
      table: child.label,
      constraint: key.constraint,
      rows: count,
      message: `${rowsOf(count)} of ${child.label} would point at rows of ${tableLabel(key.to)} that will not be there (${key.constraint}).`,
    },
  ];
}

/** Rows that go (or lose the value that is pointed at) while a row that stays still points at them. */
async function findAbandonedChildren(
  session: RestoreSession,
  key: ForeignKey,
  changed: Changed,
): Promise<PlanConflict[]> {
  const parent = changed.get(tableLabel(key.to))?.compared;
  if (parent === undefined || parent.added.some((column) => key.referenced.includes(column.name))) return [];
  const lost = lostParents(key, parent);
  // Without this count, the server might read the whole child table to join it with nothing.
  if ((await countRows(session.client, `SELECT count(*) FROM ${lost} AS p`)) === 0) return [];
  const child = changed.get(tableLabel(key.from))?.compared;
  const childStays =
    child === undefined
      ? ""
      : ` AND NOT EXISTS (SELECT FROM ${temp(child, "before")} AS b WHERE b.row_id = f.ctid AND b.row_table = f.tableoid)`;
  const count = await countRows(
    session.client,
    `SELECT count(*) FROM ${lost} AS p WHERE EXISTS (
       SELECT FROM ${fromTable(session.catalog, key.from)} AS f WHERE ${references(key, "p", "f")}${childStays})`,
  );
  if (count === 0) return [];
  return [
    {
      kind: "foreign_key",
      table: parent.label,
      constraint: key.constraint,
      rows: count,
      message: `${rowsOf(count)} of ${parent.label} would go, but rows of ${tableLabel(key.from)} that this restore leaves alone point at them (${key.constraint}).`,
    },
  ];
}

/** The old images whose referenced values no new image has. */
export function lostParents(key: ForeignKey, parent: ComparedTable): string {
  const same = key.referenced
    .map((name) => `b.${quoteName(name)} ${equalityOfColumn(parent, name)} q.${quoteName(name)}`)
    .join(" AND ");
  return `(SELECT b.* FROM ${images(parent, "before")} AS b WHERE NOT EXISTS (SELECT FROM ${images(parent, "after")} AS q WHERE ${same}))`;
}

function equalityOfColumn(compared: ComparedTable, name: string): string {
  return compared.table.columns.find((column) => column.name === name)?.equality ?? "OPERATOR(pg_catalog.=)";
}

/** That `parent` is the row that `child` points at, by the operators of the constraint. */
export function references(key: ForeignKey, parent: string, child: string): string {
  return key.columns
    .map((name, n) => {
      const referenced = `${parent}.${quoteName(key.referenced[n] ?? name)}`;
      return `${referenced} ${key.operators[n] ?? "OPERATOR(pg_catalog.=)"} ${child}.${quoteName(name)}`;
    })
    .join(" AND ");
}

/** MATCH SIMPLE and FULL alike: a row with a NULL among its columns points nowhere (FULL allows only all of them to be NULL). */
export function pointsSomewhere(key: ForeignKey, alias: string): string {
  return key.columns.map((name) => `${alias}.${quoteName(name)} IS NOT NULL`).join(" AND ");
}

/** The number that a `SELECT count(*) …` answers. */
export async function countRows(client: SourceClient, query: string): Promise<number> {
  const { rows } = await client.query<{ count: string }>(query);
  return Number(rows[0]?.count ?? 0);
}

function rowsOf(count: number): string {
  return count === 1 ? "1 row" : `${count} rows`;
}
