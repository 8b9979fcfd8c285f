import type { SequenceState } from "../../archive/manifest.ts";
import type { PublishedTable } from "../../changes/capture/published-tables.ts";
import { readPublished } from "../../changes/capture/read-published.ts";
import { readDdl } from "../../postgres/ddl.ts";
import { type SnapshotInfo, withSnapshot } from "../../postgres/snapshot.ts";
import type { VerbContext } from "../../verb-context.ts";
import type { BackupPlan } from "../plan.ts";
import { type BackupRequest, planFrom } from "../run.ts";
import { readSequences } from "../sequences.ts";
import { backupWarnings } from "../warnings.ts";

/** What the source says of the moment at which a backup is sealed; none of it is a row of a table. */
export interface SourceLook {
  readonly info: SnapshotInfo;
  readonly plan: BackupPlan;
  readonly published: readonly PublishedTable[];
  readonly sequences: readonly SequenceState[];
  readonly schema: string;
  readonly warnings: readonly string[];
}

/**
 * A snapshot, and the catalogue as of it: a few queries on one connection, which is given back before anything is read or waited for.
 * @throws RecoveryError `table_unprotected` and its like as a full backup does; `source_*`, `cancelled`
 */
export async function lookAtSource(
  ctx: Pick<VerbContext, "source" | "signal">,
  request: Pick<BackupRequest, "tenantKey" | "catalogCache"> & { readonly publicationName: string },
): Promise<SourceLook> {
  return await withSnapshot(
    ctx.source,
    { maxConnections: 1, signal: ctx.signal },
    async ({ info, leader, ...crew }) => {
      const plan = await planFrom({ info, leader, ...crew }, ctx, { ...request, tables: null });
      const { tables: published } = await readPublished(leader, request.publicationName);
      const sequences = await readSequences(leader, plan.tables);
      const tables = plan.tables.map(({ source }) => source.table);
      const schema = await readDdl(leader, plan.catalog, tables);
      const warnings = backupWarnings(plan.findings, sequences.unreadable);
      return { info, plan, published, sequences: sequences.states, schema, warnings };
    },
  );
}
