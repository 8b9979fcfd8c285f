import type { DiscoveredTableRow } from "@rowback/db";
import { DiscoveryParams } from "@rowback/jobs";
import { type DiscoveredTable, planScopes, preflight, readCatalog } from "@rowback/recovery";
import type { Outcomes } from "../outcomes.ts";
import type { RunTask, WorkerContext } from "./worker-context.ts";

/** Reads the source's catalogue, decides each table's scope, and looks for what would stop a backup. */
export async function discover(worker: WorkerContext, task: RunTask): Promise<Outcomes["discovery"]> {
  DiscoveryParams.parse(task.run.params);
  return await worker.sources.use(task.run.sourceId, async ({ source, catalogCache }) => {
    const catalog = await source.connect((client) => readCatalog(client, catalogCache), { signal: task.signal });
    const discovered = planScopes(catalog, source.tenancy, source.rules);
    const unprotected = discovered.filter((table) => table.scope === null).length;
    const shared = discovered.filter((table) => table.scope?.kind === "shared").length;
    return {
      kind: "discovery",
      tables: discovered.map(row),
      result: {
        protectedTables: discovered.length - unprotected - shared,
        sharedTables: shared,
        unprotectedTables: unprotected,
        findings: preflight(catalog, discovered),
      },
    };
  });
}

function row({ table, scope, reason, warnings }: DiscoveredTable): DiscoveredTableRow {
  const names = { schemaName: table.schema, tableName: table.name };
  if (scope !== null) return { ...names, scope, details: { warnings } };
  return { ...names, scope: null, unprotectedReason: reason, details: { warnings, hint: reason.hint } };
}
