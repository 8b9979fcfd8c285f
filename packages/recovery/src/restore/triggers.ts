import type { CatalogTable } from "../postgres/catalog-types.ts";
import type { PlannedTrigger, RowOperation, TriggersMode } from "./plan.ts";

/**
 * The customer's triggers that these operations set off. With `suppress` (session_replication_role = replica) those that are
 * ENABLE ALWAYS or ENABLE REPLICA still fire (PostgreSQL manual, ALTER TABLE). Pure.
 */
export function plannedTriggers(
  table: CatalogTable,
  mode: TriggersMode,
  operations: readonly RowOperation[],
): PlannedTrigger[] {
  const firing: readonly string[] = mode === "suppress" ? ["always", "replica"] : ["origin", "always"];
  return table.triggers
    .filter((trigger) => firing.includes(trigger.enabled))
    .filter((trigger) => operations.some((operation) => trigger.events.includes(operation)))
    .map((trigger) => ({ name: trigger.name, timing: `${trigger.timing} ${trigger.events.join(" or ")}` }));
}
