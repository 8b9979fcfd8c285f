import type { AuditEntry } from "@rowback/db";
import { z } from "zod";

/** An entry of the audit log as the API shows it. */
export const AuditEntryView = z
  .object({
    seq: z.int().meta({ description: "1, 2, 3 … without a gap among the entries of a tenant." }),
    at: z.iso.datetime(),
    userId: z.string().meta({ description: "Who." }),
    action: z.string().meta({ description: "What: <thing>.<verb>." }),
    tenantId: z.uuid().nullable(),
    sourceId: z.uuid().nullable(),
    runId: z.uuid().nullable(),
    ip: z.string().nullable().meta({ description: "From where." }),
    before: z.unknown(),
    after: z.unknown(),
    hash: z.string().meta({ description: "SHA-256 over this entry and the hash of the one before it." }),
  })
  .meta({ id: "AuditEntry" });
export type AuditEntryView = z.infer<typeof AuditEntryView>;

export function toAuditEntryView(entry: AuditEntry): AuditEntryView {
  return { ...entry, at: entry.at.toISOString() };
}
