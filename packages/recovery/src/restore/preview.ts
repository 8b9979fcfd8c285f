import type { SourceClient } from "../postgres/source.ts";
import type { VerbContext } from "../verb-context.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { RestorePlan, RestoreRequest, RowOperation, TablePlan } from "./plan.ts";
import {
  type OpenedRestore,
  type OpenTarget,
  openArchive,
  openRestore,
  type PreparedRestore,
  prepareRestore,
} from "./prepare.ts";
import { sampleRows } from "./samples.ts";
import { plannedTriggers } from "./triggers.ts";

/**
 * What a restore would do, row by row, in one snapshot of the source; nothing is changed. Temporary tables hold the rows that
 * differ, and go with the transaction.
 *
 * @throws RecoveryError `archive_damaged`, `manifest_*`, `unknown_table`, `invalid_request`, `source_*`, `store_*`, `cancelled`
 */
export async function previewRestore(
  ctx: VerbContext,
  request: RestoreRequest,
  openTarget: OpenTarget = openArchive,
): Promise<RestorePlan> {
  const archive = await openTarget(ctx, request);
  return ctx.source.connect(
    (client) =>
      inRolledBackSnapshot(client, async () => {
        const opened = await openRestore(ctx, client, request, archive);
        const prepared = await prepareRestore(opened, async () => {});
        return describePlan(client, opened, prepared);
      }),
    { signal: ctx.signal },
  );
}

async function inRolledBackSnapshot<T>(client: SourceClient, fn: () => Promise<T>): Promise<T> {
  await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
  const result = await fn();
  await client.query("ROLLBACK");
  return result;
}

async function describePlan(
  client: SourceClient,
  opened: OpenedRestore,
  prepared: PreparedRestore,
): Promise<RestorePlan> {
  const { session, warnings } = opened;
  const inOrder = prepared.order.flatMap((label) => prepared.differences.filter((one) => one.compared.label === label));
  const tables: TablePlan[] = [];
  for (const difference of inOrder) tables.push(await describeTable(client, opened, difference));
  return {
    digest: prepared.digest,
    backupId: session.request.backupId,
    mode: session.request.mode,
    tables,
    conflicts: [...prepared.conflicts],
    drift: [...prepared.drift],
    triggersMode: session.triggersMode,
    warnings: [...warnings, ...missingPrivileges(inOrder)],
  };
}

async function describeTable(
  client: SourceClient,
  { session }: OpenedRestore,
  difference: TableDifference,
): Promise<TablePlan> {
  const { compared, change, liveBefore } = difference;
  return {
    table: compared.label,
    insert: change.inserted.rows,
    update: change.replaced.rows,
    delete: change.deleted.rows,
    unchanged: liveBefore.rows - change.replaced.rows - change.deleted.rows,
    samples: await sampleRows(client, difference),
    triggers: plannedTriggers(compared.table, session.triggersMode, operationsOf(difference)),
  };
}

function operationsOf(difference: TableDifference): RowOperation[] {
  const { inserted, deleted, replaced } = difference.change;
  const operations: RowOperation[] = [];
  if (inserted.rows > 0) operations.push("insert");
  if (replaced.rows > 0) operations.push("update");
  if (deleted.rows > 0) operations.push("delete");
  return operations;
}

/** Said in the preview, so that the apply does not fail on it. */
export function missingPrivileges(differences: readonly TableDifference[]): string[] {
  return differences.filter(isChanged).flatMap((difference) => {
    const { compared } = difference;
    const missing = operationsOf(difference).filter((operation) => !compared.table.privileges[operation]);
    return missing.length === 0
      ? []
      : [
          `The role lacks ${missing.join(", ").toUpperCase()} on ${compared.label}; applying this plan will be refused.`,
        ];
  });
}
