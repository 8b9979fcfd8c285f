import type { BackupArchive } from "../archive/backup-reader.ts";
import type { Catalog } from "../postgres/catalog-types.ts";
import { fromTable, tenantPredicate } from "../postgres/scope-sql.ts";
import type { SourceClient } from "../postgres/source.ts";
import type { VerbContext } from "../verb-context.ts";
import type { ComparedTable } from "./drift.ts";
import type { RestoreRequest, TriggersMode } from "./plan.ts";
import type { RestoreProgress } from "./progress.ts";

/** One restore on one connection, inside its one transaction. */
export interface RestoreSession {
  readonly ctx: VerbContext;
  readonly client: SourceClient;
  readonly request: RestoreRequest;
  readonly archive: BackupArchive;
  readonly catalog: Catalog;
  readonly triggersMode: TriggersMode;
  readonly progress: RestoreProgress;
}

/** `SELECT <list> FROM <live table> AS t WHERE <the tenant's rows>`; `list` is SQL over `t`. */
export function liveRows(session: RestoreSession, compared: ComparedTable, list: string, and = ""): string {
  const { catalog, ctx, request } = session;
  const scoped = {
    catalog,
    table: compared.table.table,
    scope: compared.scope,
    tenancy: ctx.source.tenancy,
    tenantKey: request.tenantKey,
  };
  return `SELECT ${list} FROM ${fromTable(catalog, compared.table.table)} AS t WHERE (${tenantPredicate(scoped, "t")})${and}`;
}
