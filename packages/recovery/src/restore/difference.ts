import { addFingerprints, equalFingerprints, NO_ROWS, subtractFingerprints } from "../archive/fingerprint.ts";
import type { Fingerprint } from "../archive/manifest.ts";
import { RecoveryError } from "../errors.ts";
import { measureRows } from "./copy.ts";
import type { TableChange } from "./digest.ts";
import type { ComparedTable } from "./drift.ts";
import { analyze, imagesOf, loadCandidates } from "./load-target.ts";
import type { MeasuredTable } from "./measure.ts";
import type { RestoreMode } from "./plan.ts";
import type { RestoreSession } from "./session.ts";
import { createTemp, rowText, sameKey, slot, slots, temp } from "./temp-tables.ts";

/** What is to be done to one table; its rows are in the temporary tables `before` and `after`. */
export interface TableDifference {
  readonly compared: ComparedTable;
  readonly change: TableChange;
  /** The tenant's live rows before, and what they have to be afterwards; over the archive's columns. */
  readonly liveBefore: Fingerprint;
  readonly liveAfter: Fingerprint;
  /** Positions of the columns that some update changes. */
  readonly updatedColumns: readonly number[];
}

/** True where the table has rows to write; only then do its temporary tables exist. */
export function isChanged(difference: TableDifference): boolean {
  const { inserted, deleted, replaced } = difference.change;
  return inserted.rows + deleted.rows + replaced.rows > 0;
}

/**
 * Computes the difference between the tenant's live rows of one table and the archive's, and proves that it leads from one to
 * the other: what is live, less the rows that go, plus the rows that come, is the archive.
 */
export async function computeDifference(
  session: RestoreSession,
  compared: ComparedTable,
  measured: MeasuredTable,
): Promise<TableDifference> {
  if (measured.equal) return noDifference(compared, measured.live);
  await loadCandidates(session, compared, measured);
  await (compared.key === null
    ? compareMultisets(session, compared, session.request.mode)
    : compareByKey(session, compared, compared.key, session.request.mode));
  await analyze(session, compared, "before");
  await analyze(session, compared, "after");
  const difference = await sumUp(session, compared, measured.live);
  refuseWrongDifference(session, difference);
  return difference;
}

function noDifference(compared: ComparedTable, live: Fingerprint): TableDifference {
  const change = { table: compared.label, inserted: NO_ROWS, deleted: NO_ROWS, replaced: NO_ROWS, replacing: NO_ROWS };
  return { compared, change, liveBefore: live, liveAfter: live, updatedColumns: [] };
}

/** `*<>` compares what is stored and is cheap; text has the last word, so that two rows that print alike are never a change. */
async function compareByKey(
  session: RestoreSession,
  compared: ComparedTable,
  key: readonly number[],
  mode: RestoreMode,
): Promise<void> {
  const { client } = session;
  const live = temp(compared, "live");
  const target = temp(compared, "target");
  const differs =
    `ROW(${slots(compared, "l")})::record OPERATOR(pg_catalog.*<>) ROW(${slots(compared, "g")})::record` +
    ` AND ${rowText(compared, "l")} <> ${rowText(compared, "g")}`;
  await client.query(
    `${createTemp(compared, "before")} ON COMMIT DROP AS
     SELECT row_number() OVER () AS n, CASE WHEN g.ctid IS NULL THEN 'delete' ELSE 'update' END AS op, false AS recreate,
            l.row_table, l.row_id, l.row_xmin, ${slots(compared, "l")}
     FROM ${live} AS l LEFT JOIN ${target} AS g ON ${sameKey(compared, key, "l", "g")}
     WHERE ${mode === "exact" ? `g.ctid IS NULL OR (${differs})` : "false"}`,
  );
  await client.query(
    `${createTemp(compared, "after")} ON COMMIT DROP AS
     SELECT b.n, 'update' AS op, false AS recreate, ${slots(compared, "g")}
     FROM ${temp(compared, "before")} AS b JOIN ${target} AS g ON ${sameKey(compared, key, "b", "g")}
     WHERE b.op = 'update'
     UNION ALL
     SELECT -row_number() OVER () AS n, 'insert' AS op, false AS recreate, ${slots(compared, "g")}
     FROM ${target} AS g WHERE NOT EXISTS (SELECT FROM ${live} AS l WHERE ${sameKey(compared, key, "l", "g")})`,
  );
}

/** Rows without a key are compared by how often each occurs; a hash stands for the row, so that long rows need no long sort. */
async function compareMultisets(session: RestoreSession, compared: ComparedTable, mode: RestoreMode): Promise<void> {
  const { client } = session;
  const numbered = (role: "live" | "target"): string =>
    `(SELECT s.*, ${imageHash(compared)} AS image, row_number() OVER (PARTITION BY ${imageHash(compared)} ORDER BY s.ctid) AS nth
      FROM ${temp(compared, role)} AS s)`;
  const counted = (role: "live" | "target"): string =>
    `(SELECT ${imageHash(compared)} AS image, count(*) AS times FROM ${temp(compared, role)} AS s GROUP BY 1)`;
  await client.query(
    `${createTemp(compared, "before")} ON COMMIT DROP AS
     SELECT row_number() OVER () AS n, 'delete' AS op, false AS recreate, l.row_table, l.row_id, l.row_xmin, ${slots(compared, "l")}
     FROM ${numbered("live")} AS l LEFT JOIN ${counted("target")} AS g ON g.image = l.image
     WHERE ${mode === "exact" ? "l.nth > coalesce(g.times, 0)" : "false"}`,
  );
  await client.query(
    `${createTemp(compared, "after")} ON COMMIT DROP AS
     SELECT -row_number() OVER () AS n, 'insert' AS op, false AS recreate, ${slots(compared, "g")}
     FROM ${numbered("target")} AS g LEFT JOIN ${counted("live")} AS l ON l.image = g.image
     WHERE g.nth > coalesce(l.times, 0)`,
  );
}

function imageHash(compared: ComparedTable): string {
  return `sha256(convert_to(${rowText(compared, "s")}, 'UTF8'))`;
}

async function sumUp(session: RestoreSession, compared: ComparedTable, live: Fingerprint): Promise<TableDifference> {
  const { client } = session;
  const deleted = await measureRows(client, imagesOf(compared, "before", "delete"));
  const replaced = await measureRows(client, imagesOf(compared, "before", "update"));
  const inserted = await measureRows(client, imagesOf(compared, "after", "insert"));
  const replacing = await measureRows(client, imagesOf(compared, "after", "update"));
  const gone = addFingerprints(deleted, replaced);
  if (gone.rows > live.rows) throw movedMeanwhile(compared);
  return {
    compared,
    change: { table: compared.label, inserted, deleted, replaced, replacing },
    liveBefore: live,
    liveAfter: addFingerprints(subtractFingerprints(live, gone), addFingerprints(inserted, replacing)),
    updatedColumns: replaced.rows === 0 ? [] : await findUpdatedColumns(session, compared),
  };
}

async function findUpdatedColumns(session: RestoreSession, compared: ComparedTable): Promise<number[]> {
  const changed = compared.columns.map(
    (_, at) => `bool_or(ROW(b.${slot(at)})::text COLLATE "C" <> ROW(a.${slot(at)})::text COLLATE "C") AS ${slot(at)}`,
  );
  const { rows } = await session.client.query<Record<string, boolean | null>>(
    `SELECT ${changed.join(", ")} FROM ${temp(compared, "before")} AS b JOIN ${temp(compared, "after")} AS a ON a.n = b.n`,
  );
  return compared.columns.flatMap((_, at) => (rows[0]?.[slot(at)] === true ? [at] : []));
}

/** Only a whole table that is to be as it was has to end as the archive; anything else ends where the plan says. */
function refuseWrongDifference(session: RestoreSession, difference: TableDifference): void {
  const { compared, liveAfter } = difference;
  if (session.request.mode !== "exact" || compared.chosen !== null) return;
  if (!equalFingerprints(liveAfter, compared.archived.fingerprint)) throw movedMeanwhile(compared);
}

/** In one snapshot this can't be: the table was read in several, and somebody wrote between them. */
function movedMeanwhile(compared: ComparedTable): RecoveryError {
  return new RecoveryError(
    "plan_stale",
    `The tenant's rows of ${compared.label} were written while they were compared.`,
    {
      table: compared.label,
      hint: "Preview again, at best while the tenant's application is paused.",
    },
  );
}
