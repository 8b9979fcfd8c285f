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
  | "run.cancel"
  | "restore-point.create"
  | "history.read"
  | "restore.preview"
  | "restore.apply"
  | "restore.undo"
  | "restore.cancel"
  | "restore.approve"
  | "restore.reject"
  | "settings.change"
  | "source.create"
  | "source.change"
  | "source.delete"
  | "source.discover"
  | "source.capture"
  | "source.stop_capture"
  | "tenant.create"
  | "tenant.erase"
  | "member.set"
  | "member.remove"
  | "api-key.create"
  | "api-key.revoke";

/**
 * Notes who did what from where, in the transaction of the deed. `before` and `after` hold no secret. Who came by an API
 * key is its maker, and `after` names the key.
 */
export async function audit(
  client: Queryable,
  request: FastifyRequest,
  entry: Omit<NewAuditEntry, "userId" | "action" | "ip"> & { action: AuditAction },
): Promise<void> {
  const { userId, apiKey } = callerOf(request);
  const after = apiKey === null ? entry.after : { ...Object(entry.after), apiKeyId: apiKey.id };
  await insertAuditEntry(client, { ...entry, after, userId, ip: request.ip });
  request.isAudited = true;
}
