import { addFingerprints, equalFingerprints } from "../archive/fingerprint.ts";
import { RecoveryError } from "../errors.ts";
import type { ForeignKey } from "../postgres/catalog-types.ts";
import { quoteName } from "../postgres/identifiers.ts";
import { fromTable } from "../postgres/scope-sql.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import { collide, countRows, foreignKeysAround, lostParents, pointsSomewhere, references } from "./conflicts.ts";
import { measureRows } from "./copy.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { ComparedTable } from "./drift.ts";
import type { WriteCounts } from "./execute.ts";
import { columnList, remeasure } from "./measure.ts";
import { liveRows, type RestoreSession } from "./session.ts";
import { images } from "./temp-tables.ts";
import { plannedTriggers } from "./triggers.ts";
import type { UniqueRule } from "./unique-rules.ts";
import { refuseOtherWrites, type WriteCounters } from "./write-counters.ts";

/**
 * Everything that must hold before a restore may be committed, looked at after the last write: constraints (by the server, or
 * by us where triggers are suppressed), exactly the planned number of rows written in exactly the planned tables, and each
 * table's rows as predicted. Runs in READ COMMITTED, so it also sees what others committed meanwhile.
 *
 * @throws RecoveryError `plan_conflict`, `integrity_failed`, `plan_stale`
 */
export async function checkIntegrity(
  session: RestoreSession,
  differences: readonly TableDifference[],
  rules: readonly UniqueRule[],
  written: { readonly counts: ReadonlyMap<string, WriteCounts>; readonly countersBefore: WriteCounters },
): Promise<void> {
  const changed = differences.filter(isChanged);
  await session.client.query("SET CONSTRAINTS ALL IMMEDIATE");
  if (session.triggersMode === "suppress") {
    await checkForeignKeys(session, changed);
    await checkDeferrableRules(session, changed, rules);
  }
  await refuseOtherWrites(session, written.countersBefore, written.counts);
  for (const [at, difference] of changed.entries()) {
    await checkRows(session, difference);
    session.progress.enter("verifying", (at + 1) / changed.length);
  }
}

/** With triggers suppressed the server checks no foreign key. The referenced rows are locked first, as the server would. */
async function checkForeignKeys(session: RestoreSession, changed: readonly TableDifference[]): Promise<void> {
  const byLabel = new Map(changed.map(({ compared }) => [compared.label, compared]));
  for (const key of foreignKeysAround(session.catalog, new Set(byLabel.keys()))) {
    const child = byLabel.get(tableLabel(key.from));
    const parent = byLabel.get(tableLabel(key.to));
    if (child !== undefined) await checkParentsExist(session, key, child);
    if (parent !== undefined) await checkNoneAbandoned(session, key, parent);
  }
}

async function checkParentsExist(session: RestoreSession, key: ForeignKey, child: ComparedTable): Promise<void> {
  if (child.added.some((column) => key.columns.includes(column.name))) return;
  const { client, catalog } = session;
  const parents = `${fromTable(catalog, key.to)} AS p`;
  const children = `${images(child, "after")} AS a`;
  if (mayLock(session, key)) {
    await client.query(
      `SELECT count(*) FROM (SELECT FROM ${parents} WHERE EXISTS (SELECT FROM ${children} WHERE ${references(key, "p", "a")}) FOR KEY SHARE OF p) AS locked`,
    );
  }
  const missing = await countRows(
    client,
    `SELECT count(*) FROM ${children} WHERE ${pointsSomewhere(key, "a")} AND NOT EXISTS (SELECT FROM ${parents} WHERE ${references(key, "p", "a")})`,
  );
  if (missing > 0) throw brokenForeignKey(key);
}

async function checkNoneAbandoned(session: RestoreSession, key: ForeignKey, parent: ComparedTable): Promise<void> {
  if (parent.added.some((column) => key.referenced.includes(column.name))) return;
  const { client, catalog } = session;
  const lost = lostParents(key, parent);
  if ((await countRows(client, `SELECT count(*) FROM ${lost} AS p`)) === 0) return;
  const abandoned = await countRows(
    client,
    `SELECT count(*) FROM ${lost} AS p WHERE EXISTS (SELECT FROM ${fromTable(catalog, key.from)} AS f WHERE ${references(key, "p", "f")})`,
  );
  if (abandoned > 0) throw brokenForeignKey(key);
}

/** Row locks need UPDATE (PostgreSQL manual, SELECT, "The Locking Clause"); a role may well have none on a shared table. */
function mayLock(session: RestoreSession, key: ForeignKey): boolean {
  const parent = session.catalog.tables.find((table) => tableLabel(table.table) === tableLabel(key.to));
  return parent?.privileges.update === true;
}

function brokenForeignKey(key: ForeignKey): RecoveryError {
  return new RecoveryError(
    "plan_conflict",
    `The foreign key ${key.constraint} of ${tableLabel(key.from)} would be broken; everything was rolled back.`,
    { table: tableLabel(key.from), hint: "Preview again: rows it concerns were written since." },
  );
}

/** A deferrable rule is enforced by an internal trigger, which suppressed triggers switch off (src/backend/commands/constraint.c). */
async function checkDeferrableRules(
  session: RestoreSession,
  changed: readonly TableDifference[],
  rules: readonly UniqueRule[],
): Promise<void> {
  for (const { compared } of changed) {
    for (const rule of rules.filter((one) => one.table === compared.table.oid && one.deferrable)) {
      const elements = rule.elements.map(({ sql }, n) => `(${sql}) AS "rowback e${n}"`).join(", ");
      const where = rule.predicate === null ? "" : ` WHERE ${rule.predicate}`;
      const live = `(SELECT ${elements} FROM ${fromTable(session.catalog, compared.table.table)} AS i${where})`;
      const collisions = await countRows(
        session.client,
        `SELECT count(*) FROM (SELECT "rowback n", ${elements} FROM ${images(compared, "after")} AS i${where}) AS a
         WHERE (SELECT count(*) FROM ${live} AS l WHERE ${collide(rule, "a", "l")}) > 1`,
      );
      if (collisions === 0) continue;
      throw new RecoveryError(
        "plan_conflict",
        `${collisions} rows of ${compared.label} would collide in ${rule.name}; everything was rolled back.`,
        { table: compared.label, hint: "Preview again to see the conflicts." },
      );
    }
  }
}

async function checkRows(session: RestoreSession, difference: TableDifference): Promise<void> {
  const { compared, liveAfter } = difference;
  if (equalFingerprints(await remeasure(session, compared), liveAfter)) return;
  throw (await wroteAsPlanned(session, difference)) ? writtenMeanwhile(compared) : alteredByTriggers(session, compared);
}

/** Whether the rows that this transaction wrote are the planned ones; then the rows that are wrong are somebody else's. */
async function wroteAsPlanned(session: RestoreSession, difference: TableDifference): Promise<boolean> {
  const { compared, change } = difference;
  const ours = liveRows(session, compared, columnList(compared), " AND t.xmin = pg_current_xact_id()::xid");
  const written = await measureRows(session.client, ours);
  return equalFingerprints(written, addFingerprints(change.inserted, change.replacing));
}

function writtenMeanwhile(compared: ComparedTable): RecoveryError {
  return new RecoveryError(
    "plan_stale",
    `Somebody wrote the tenant's rows of ${compared.label} during the restore; everything was rolled back.`,
    { table: compared.label, hint: "Preview again, at best while the tenant's application is paused." },
  );
}

function alteredByTriggers(session: RestoreSession, compared: ComparedTable): RecoveryError {
  const triggers = plannedTriggers(compared.table, session.triggersMode, ["insert", "update", "delete"]);
  const named = triggers.map((trigger) => quoteName(trigger.name)).join(", ");
  return new RecoveryError(
    "integrity_failed",
    `The rows written to ${compared.label} are not the planned ones; everything was rolled back.${named === "" ? "" : ` Its triggers: ${named}.`}`,
    { table: compared.label, hint: "Restore with triggers suppressed, or disable the trigger that alters rows." },
  );
}
