import { collide, countRows } from "./conflicts.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { ComparedTable } from "./drift.ts";
import type { PlanConflict } from "./plan.ts";
import type { RestoreSession } from "./session.ts";
import { images, slot, temp } from "./temp-tables.ts";
import type { UniqueRule } from "./unique-rules.ts";

/**
 * Some updates can't be done as updates: two rows that exchange a unique value collide halfway (unique rules are judged row by
 * row), and an identity column that is GENERATED ALWAYS can't be set. Such rows are marked: they are deleted and inserted again.
 * That is invisible only while triggers and foreign-key actions are suppressed, and while the archive knows every column;
 * otherwise it is a conflict.
 */
export async function markRecreated(
  session: RestoreSession,
  differences: readonly TableDifference[],
  rules: readonly UniqueRule[],
): Promise<PlanConflict[]> {
  const conflicts: PlanConflict[] = [];
  for (const difference of differences.filter(isChanged)) {
    if (difference.change.replaced.rows === 0) continue;
    const { compared } = difference;
    conflicts.push(...(await markFixedIdentities(session, difference)));
    for (const rule of rules.filter((one) => one.table === compared.table.oid && !one.deferrable)) {
      const marked = await markExchanges(session, compared, rule);
      if (marked > 0)
        conflicts.push(...refuseWhereVisible(session, compared, rule, marked, "exchange among themselves"));
    }
    await session.client.query(
      `UPDATE ${temp(compared, "after")} AS a SET recreate = true FROM ${temp(compared, "before")} AS b WHERE a.n = b.n AND b.recreate`,
    );
  }
  return conflicts;
}

/** Rows whose old unique value is the new one of another updated row. */
function markExchanges(session: RestoreSession, compared: ComparedTable, rule: UniqueRule): Promise<number> {
  const elements = rule.elements.map(({ sql }, n) => `(${sql}) AS "rowback e${n}"`).join(", ");
  const where = rule.predicate === null ? "" : ` WHERE ${rule.predicate}`;
  const side = (role: "before" | "after"): string =>
    `(SELECT "rowback n", "rowback op", ${elements} FROM ${images(compared, role)} AS i${where})`;
  return countRows(
    session.client,
    `WITH marked AS (
       UPDATE ${temp(compared, "before")} AS m SET recreate = true
       FROM ${side("before")} AS b, ${side("after")} AS a
       WHERE m.n = b."rowback n" AND b."rowback op" = 'update' AND a."rowback op" = 'update' AND a."rowback n" <> b."rowback n"
         AND ${collide(rule, "a", "b")} RETURNING 1)
     SELECT count(*) FROM marked`,
  );
}

async function markFixedIdentities(session: RestoreSession, difference: TableDifference): Promise<PlanConflict[]> {
  const { compared } = difference;
  const fixed = difference.updatedColumns.filter((at) => compared.columns[at]?.identity === "always");
  if (fixed.length === 0) return [];
  const differs = fixed.map((at) => `b.${slot(at)} <> a.${slot(at)}`).join(" OR ");
  const marked = await session.client.query(
    `UPDATE ${temp(compared, "before")} AS b SET recreate = true FROM ${temp(compared, "after")} AS a WHERE a.n = b.n AND (${differs})`,
  );
  const names = fixed.map((at) => compared.columns[at]?.name).join(", ");
  return refuseWhereVisible(session, compared, { name: names, kind: "unique" }, marked.rowCount ?? 0, "change");
}

function refuseWhereVisible(
  session: RestoreSession,
  compared: ComparedTable,
  rule: Pick<UniqueRule, "name" | "kind">,
  rows: number,
  verb: string,
): PlanConflict[] {
  if (session.triggersMode === "suppress" && compared.added.length === 0) return [];
  const why =
    session.triggersMode === "fire"
      ? "which needs triggers to be suppressed"
      : "which can't be done since columns were added to the table";
  const message = `${rows} rows of ${compared.label} ${verb} values of ${rule.name}, ${why}.`;
  return [{ kind: rule.kind, table: compared.label, constraint: rule.name, rows, message }];
}
