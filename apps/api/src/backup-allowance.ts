import {
  countRecentRuns,
  getTenantSettings,
  lastStoredBytes,
  type NewBackup,
  storedBytes,
  type TenantClient,
} from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyReply } from "fastify";
import { requireAllowance } from "./rate-limiting.ts";
import type { RateLimits } from "./rate-limits.ts";

const HOUR_MS = 3_600_000;

/**
 * Counts the backup whose run this transaction has just written: one too many is taken back with it. A request that only
 * met its earlier run is none.
 * @throws RecoveryError `rate_limited`
 */
export async function requireBackupAllowance(
  client: TenantClient,
  reply: FastifyReply,
  limits: RateLimits,
  userId: string,
): Promise<void> {
  const { tenantId } = client;
  const { backupsPerHour } = await getTenantSettings(client, tenantId);
  const allowed = await limits.backup({
    tenantId,
    userId,
    perHour: backupsPerHour,
    countRecent: () => countRecentRuns(client, { kinds: ["backup"], requestedBy: userId, withinMs: HOUR_MS }),
  });
  requireAllowance(reply, allowed, tenantId);
}

/**
 * Whether one more backup fits the tenant's quota, by the size of the last whole one of these tables (null: all); an incremental one is small.
 * A guess: the worker enforces the quota to the byte while it writes.
 * @throws RecoveryError `quota_exceeded`
 */
export async function requireRoom(
  client: TenantClient,
  { type, tables }: Pick<NewBackup, "type" | "tables">,
): Promise<void> {
  const { storageQuotaBytes: quota } = await getTenantSettings(client, client.tenantId);
  if (quota === null) return;
  const last = type === "incremental" ? null : await lastStoredBytes(client, tables);
  const stored = await storedBytes(client);
  if (stored + (last ?? 0) <= quota && stored < quota) return;
  const needs = last === null ? "" : `, and the last such backup took ${last}`;
  throw new RecoveryError("quota_exceeded", `Of the tenant's ${quota} bytes ${stored} are used${needs}.`, {
    tenantId: client.tenantId,
    hint: "Delete old backups, or ask an operator to raise the tenant's storage quota.",
  });
}
