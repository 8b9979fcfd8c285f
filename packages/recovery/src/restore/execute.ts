import { RecoveryError } from "../errors.ts";
import type { Catalog } from "../postgres/catalog-types.ts";
import { quoteName } from "../postgres/identifiers.ts";
import { fromTable } from "../postgres/scope-sql.ts";
import { countRows } from "./conflicts.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { ComparedTable } from "./drift.ts";
import type { RestoreSession } from "./session.ts";
import { slot, temp } from "./temp-tables.ts";

/** How many rows of one table have to be written in each way; an update that has to be done as delete and insert counts as both. */
export interface WriteCounts {
  readonly deleted: number;
  readonly updated: number;
  readonly inserted: number;
}

/**
 * Locks every live row that the plan deletes or updates. A row is named by place and version (tableoid, ctid, xmin), so one that
 * somebody changed since it was compared is not found again, whatever became of its place.
 *
 * @throws RecoveryError `plan_stale`
 */
export async function lockRows(session: RestoreSession, differences: readonly TableDifference[]): Promise<void> {
  for (const { compared, change } of differences.filter(isChanged)) {
    const expected = change.deleted.rows + change.replaced.rows;
    if (expected === 0) continue;
    const locked = await countRows(
      session.client,
      `SELECT count(*) FROM (
         SELECT FROM ${fromTable(session.catalog, compared.table.table)} AS t, ${temp(compared, "before")} AS b
         WHERE ${sameVersion("t")} FOR UPDATE OF t) AS locked`,
    );
    if (locked !== expected) {
      throw new RecoveryError(
        "plan_stale",
        `${expected - locked} of ${expected} rows of ${compared.label} were changed by somebody else meanwhile; nothing was restored.`,
        { table: compared.label, hint: "Preview again, at best while the tenant's application is paused." },
      );
    }
  }
}

/**
 * Writes the whole difference in one statement: deletes (children first), updates, inserts (parents first). One statement,
 * because the server judges foreign keys at the end of a statement: cycles, self-references and rows that change parents need
 * no deferrable constraint and no second pass. Unique rules are judged row by row, so each step waits for the one before it.
 *
 * @param order labels, parents first
 * @throws RecoveryError `integrity_failed` when a step wrote another number of rows than planned
 */
export async function writeDifference(
  session: RestoreSession,
  differences: readonly TableDifference[],
  order: readonly string[],
): Promise<Map<string, WriteCounts>> {
  const planned = await planWrites(session, inOrder(differences.filter(isChanged), order));
  const steps = writeSteps(session.catalog, planned);
  if (steps.length === 0) return new Map();
  const { rows } = await session.client.query<Record<string, string>>(oneStatement(steps));
  for (const [n, step] of steps.entries()) {
    const written = Number(rows[0]?.[`s${n}`] ?? 0);
    if (written === step.rows) continue;
    throw new RecoveryError(
      "integrity_failed",
      `The plan ${step.verb} ${step.rows} rows of ${step.label}, but the database did so with ${written}; everything was rolled back.`,
      { table: step.label, hint: "Look for triggers or rules on the table that skip rows." },
    );
  }
  return new Map(planned.map(({ difference, counts }) => [difference.compared.label, counts]));
}

interface PlannedWrites {
  readonly difference: TableDifference;
  readonly counts: WriteCounts;
}

async function planWrites(session: RestoreSession, differences: readonly TableDifference[]): Promise<PlannedWrites[]> {
  const planned: PlannedWrites[] = [];
  for (const difference of differences) {
    const { inserted, deleted, replaced } = difference.change;
    const recreated =
      replaced.rows === 0
        ? 0
        : await countRows(
            session.client,
            `SELECT count(*) FROM ${temp(difference.compared, "before")} AS b WHERE b.recreate`,
          );
    const counts = {
      deleted: deleted.rows + recreated,
      updated: replaced.rows - recreated,
      inserted: inserted.rows + recreated,
    };
    planned.push({ difference, counts });
  }
  return planned;
}

interface WriteStep {
  readonly label: string;
  readonly verb: "deletes" | "updates" | "inserts";
  readonly rows: number;
  /** The statement up to its conditions, which are ANDed. */
  readonly sql: string;
  readonly conditions: readonly string[];
}

/** The steps that have rows, in the order of the work. Exported for its test. */
export function writeSteps(catalog: Catalog, planned: readonly PlannedWrites[]): WriteStep[] {
  return [
    ...planned.toReversed().map(({ difference, counts }) => deleteStep(catalog, difference.compared, counts)),
    ...planned.map(({ difference, counts }) => updateStep(catalog, difference, counts)),
    ...planned.map(({ difference, counts }) => insertStep(difference.compared, counts)),
  ].filter((step) => step.rows > 0);
}

function deleteStep(catalog: Catalog, compared: ComparedTable, counts: WriteCounts): WriteStep {
  return {
    label: compared.label,
    verb: "deletes",
    rows: counts.deleted,
    sql: `DELETE FROM ${fromTable(catalog, compared.table.table)} AS t USING ${temp(compared, "before")} AS b`,
    conditions: [sameVersion("t"), "(b.op = 'delete' OR b.recreate)"],
  };
}

/** Only the columns that change are set: `UPDATE OF` triggers stay quiet, and indexes of other columns are left alone. */
function updateStep(catalog: Catalog, difference: TableDifference, counts: WriteCounts): WriteStep {
  const { compared, updatedColumns } = difference;
  const set = updatedColumns
    .filter((at) => compared.columns[at]?.identity !== "always")
    .map((at) => `${quoteName(compared.columns[at]?.name ?? "")} = a.${slot(at)}`);
  return {
    label: compared.label,
    verb: "updates",
    rows: counts.updated,
    sql: `UPDATE ${fromTable(catalog, compared.table.table)} AS t SET ${set.join(", ")} FROM ${temp(compared, "before")} AS b, ${temp(compared, "after")} AS a`,
    conditions: [sameVersion("t"), "b.op = 'update'", "NOT b.recreate", "a.n = b.n"],
  };
}

function insertStep(compared: ComparedTable, counts: WriteCounts): WriteStep {
  const names = compared.columns.map((column) => quoteName(column.name)).join(", ");
  const values = compared.columns.map((_, at) => `a.${slot(at)}`).join(", ");
  const overriding = compared.columns.some((column) => column.identity !== null) ? " OVERRIDING SYSTEM VALUE" : "";
  return {
    label: compared.label,
    verb: "inserts",
    rows: counts.inserted,
    sql: `INSERT INTO ${quoteName(compared.table.table.schema)}.${quoteName(compared.table.table.name)} (${names})${overriding} SELECT ${values} FROM ${temp(compared, "after")} AS a`,
    conditions: ["(a.op = 'insert' OR a.recreate)"],
  };
}

/** Each step asks for the count of the step before it, so that it can't begin before that one has ended (PostgreSQL manual, 7.8.4). */
function oneStatement(steps: readonly WriteStep[]): string {
  const parts = steps.map((step, n) => {
    const afterwards = n === 0 ? [] : [`(SELECT count(*) FROM s${n - 1}) >= 0`];
    return `s${n} AS (${step.sql} WHERE ${[...step.conditions, ...afterwards].join(" AND ")} RETURNING 1)`;
  });
  const counts = steps.map((_, n) => `(SELECT count(*) FROM s${n}) AS s${n}`);
  return `WITH ${parts.join(",\n")}\nSELECT ${counts.join(", ")}`;
}

function sameVersion(alias: string): string {
  return `${alias}.ctid = b.row_id AND ${alias}.tableoid = b.row_table AND ${alias}.xmin = b.row_xmin`;
}

function inOrder(differences: readonly TableDifference[], order: readonly string[]): TableDifference[] {
  const position = new Map(order.map((label, at) => [label, at]));
  const at = (difference: TableDifference): number => position.get(difference.compared.label) ?? 0;
  return differences.toSorted((a, b) => at(a) - at(b));
}
