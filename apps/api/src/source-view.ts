import type { ProtectedTable, Run, Source } from "@rowback/db";
import { DiscoveryResult } from "@rowback/jobs";
import { ScopeRule, TableScope, Tenancy, tableLabel } from "@rowback/recovery/plans";
import { z } from "zod";
import { isoOrNull } from "./run-view.ts";

/** A source as operators see it. Its connection goes in and never comes out. */
export const SourceView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    tenancy: Tenancy,
    rules: z.array(ScopeRule),
    encryption: z.boolean().meta({ description: "Whether what is stored of its tenants is sealed, from now on." }),
    createdAt: z.iso.datetime(),
    updatedAt: z.iso.datetime(),
    discoveredAt: z.iso.datetime().nullable(),
  })
  .meta({ id: "Source" });
export type SourceView = z.infer<typeof SourceView>;

export function toSourceView(source: Source): SourceView {
  return {
    id: source.id,
    name: source.name,
    tenancy: Tenancy.parse(source.tenancy),
    rules: z.array(ScopeRule).parse(source.rules),
    encryption: source.encryption,
    createdAt: source.createdAt.toISOString(),
    updatedAt: source.updatedAt.toISOString(),
    discoveredAt: isoOrNull(source.discoveredAt),
  };
}

const UnprotectedReason = z.object({ code: z.string(), message: z.string(), choices: z.unknown().optional() });

const Label = z.string().meta({ description: "schema.table" });
const FindingView = z.object({
  severity: z.enum(["error", "warning", "info"]),
  code: z.string(),
  table: Label.nullable(),
  message: z.string(),
  hint: z.string(),
});

/** What a discovery found. */
export const DiscoveryView = DiscoveryResult.extend({
  findings: z.array(FindingView),
  sourceId: z.uuid(),
  runId: z.uuid(),
  discoveredAt: z.iso.datetime().nullable(),
  /** The rules or the tenancy were changed since. */
  isStale: z.boolean(),
  tables: z.array(
    z.object({
      table: Label,
      scope: TableScope.nullable().meta({ description: "How its rows are tied to a tenant; null: unprotected." }),
      unprotectedReason: UnprotectedReason.nullable(),
      details: z.unknown().optional(),
    }),
  ),
}).meta({ id: "Discovery" });
export type DiscoveryView = z.infer<typeof DiscoveryView>;

export function toDiscoveryView(
  source: Source,
  run: Run,
  result: DiscoveryResult,
  tables: readonly ProtectedTable[],
): DiscoveryView {
  return {
    ...result,
    findings: result.findings.map((finding) => ({
      ...finding,
      table: finding.table === null ? null : tableLabel(finding.table),
    })),
    sourceId: source.id,
    runId: run.id,
    discoveredAt: isoOrNull(source.discoveredAt),
    isStale: source.discoveredAt === null || source.updatedAt > source.discoveredAt,
    tables: tables.map((table) => ({
      table: tableLabel({ schema: table.schemaName, name: table.tableName }),
      scope: table.scope === null ? null : TableScope.parse(table.scope),
      unprotectedReason: table.unprotectedReason,
      details: table.details,
    })),
  };
}
