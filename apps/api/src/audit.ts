import { insertAuditEntry, type NewAuditEntry, type Queryable } from "@rowback/db";
import type { FastifyRequest } from "fastify";
import { callerOf } from "./auth/caller.ts";

/** Every deed that the audit log tells of. */
export type AuditAction =
  | "backup.create"
  | "backup.cancel"
  | "backup.delete"
  | "backup.undelete"
  | "backup.verify"
  | "restore.preview"
  | "restore.apply"
  | "restore.undo"
  | "restore.cancel"
  | "source.create"
  | "source.change"
  | "source.delete"
  | "source.discover"
  | "tenant.create"
  | "member.set"
  | "member.remove";

/** Notes who did what from where, in the transaction of the deed. `before` and `after` hold no secret. */
export async function audit(
  client: Queryable,
  request: FastifyRequest,
  entry: Omit<NewAuditEntry, "userId" | "action" | "ip"> & { action: AuditAction },
): Promise<void> {
  await insertAuditEntry(client, { ...entry, userId: callerOf(request).userId, ip: request.ip });
}
