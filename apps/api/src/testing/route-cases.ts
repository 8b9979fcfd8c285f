import { randomUUID } from "node:crypto";
import { PLAN_DIGEST, type Thing } from "./things.ts";

/** Gives the id of a thing: of the caller's tenant, of another's, or of nothing, as the test wants it. */
export type IdOf = (thing: Thing) => Promise<string>;

export interface RouteRequest {
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export interface RouteCase {
  /** Who is answered well: the tenant's owner, or the operator. */
  readonly by: "owner" | "operator";
  /** The entry that the audit log must have afterwards. */
  readonly audit: string;
  /** A request that succeeds with the caller's own ids. Every id in it comes from `id`. */
  readonly request: (id: IdOf) => Promise<RouteRequest>;
}

const owner = (audit: string, request: RouteCase["request"]): RouteCase => ({ by: "owner", audit, request });
const operator = (audit: string, request: RouteCase["request"]): RouteCase => ({ by: "operator", audit, request });
const path = (text: string) => async (): Promise<RouteRequest> => ({ path: text });
const on =
  (thing: Thing, before: string, after = "", body?: unknown) =>
  async (id: IdOf) => ({
    path: `${before}${await id(thing)}${after}`,
    ...(body === undefined ? {} : { body }),
  });

/**
 * Every route under /v1, once. The tests that walk all routes (audit, isolation) fail for one that is not here: a new
 * route gets one entry here, and where it takes the id of a new kind of thing, one in things.ts.
 */
export const ROUTE_CASES: Readonly<Record<string, RouteCase>> = {
  "POST /v1/backups": owner("backup.create", async (id) => ({
    path: "/v1/backups",
    body: { type: "incremental", parent: await id("capturedBackup") },
  })),
  "GET /v1/backups": owner("backup.read", path("/v1/backups?status=succeeded")),
  "GET /v1/backups/:id": owner("backup.read", on("backup", "/v1/backups/")),
  "DELETE /v1/backups/:id": owner("backup.delete", on("backup", "/v1/backups/")),
  "POST /v1/backups/:id/undelete": owner("backup.undelete", on("deletedBackup", "/v1/backups/", "/undelete")),
  "POST /v1/backups/:id/cancel": owner("backup.cancel", on("queuedBackup", "/v1/backups/", "/cancel")),
  "POST /v1/backups/:id/verify": owner("backup.verify", on("backup", "/v1/backups/", "/verify")),

  "GET /v1/runs/:id": owner("run.read", on("backup", "/v1/runs/")),
  "POST /v1/runs/:id/cancel": owner("run.cancel", on("queuedPreview", "/v1/runs/", "/cancel")),
  "GET /v1/runs/:id/events": owner("run.read", on("backup", "/v1/runs/", "/events")),

  "POST /v1/restores/preview": owner("restore.preview", async (id) => ({
    path: "/v1/restores/preview",
    body: { backupId: await id("backup") },
  })),
  "POST /v1/restores": owner("restore.apply", async (id) => ({
    path: "/v1/restores",
    body: { previewId: await id("preview"), planDigest: PLAN_DIGEST },
  })),
  "GET /v1/restores": owner("restore.read", path("/v1/restores?kind=restore_preview")),
  "GET /v1/restores/:id": owner("restore.read", on("preview", "/v1/restores/")),
  "POST /v1/restores/:id/undo": owner("restore.undo", on("restore", "/v1/restores/", "/undo")),
  "POST /v1/restores/:id/cancel": owner("restore.cancel", on("queuedPreview", "/v1/restores/", "/cancel")),

  "POST /v1/restores/:id/approve": owner("restore.approve", on("waitingRestore", "/v1/restores/", "/approve")),
  "POST /v1/restores/:id/reject": owner("restore.reject", on("waitingRestore", "/v1/restores/", "/reject")),

  "GET /v1/recovery-window": owner("recovery-window.read", path("/v1/recovery-window")),
  "POST /v1/restore-points": owner("restore-point.create", async () => ({
    path: "/v1/restore-points",
    body: { name: `before ${randomUUID()}` },
  })),
  "GET /v1/restore-points": owner("restore-point.read", path("/v1/restore-points")),
  "GET /v1/history": owner("history.read", async (id) => {
    await id("capturedBackup");
    // The answer is the same run, whoever's backup that was.
    return { path: "/v1/history?table=orders&key=1", headers: { "idempotency-key": "history" } };
  }),

  "POST /v1/sources": operator("source.create", async () => ({
    path: "/v1/sources",
    body: { name: `source ${randomUUID()}`, connection: "env:X", tenancy: { mode: "column", column: "t" } },
  })),
  "GET /v1/sources": operator("source.read", path("/v1/sources")),
  "GET /v1/sources/:id": operator("source.read", on("source", "/v1/sources/")),
  "PATCH /v1/sources/:id": operator("source.change", on("source", "/v1/sources/", "", { connection: "env:Y" })),
  "DELETE /v1/sources/:id": operator("source.delete", on("sourceOfNobody", "/v1/sources/")),
  "POST /v1/sources/:id/discovery": operator("source.discover", on("source", "/v1/sources/", "/discovery")),
  "GET /v1/sources/:id/discovery": operator("source.read", on("discovery", "/v1/sources/", "/discovery")),

  "POST /v1/sources/:id/capture": operator("source.capture", on("source", "/v1/sources/", "/capture")),
  "GET /v1/sources/:id/capture": operator("source.read", on("capture", "/v1/sources/", "/capture")),
  "DELETE /v1/sources/:id/capture": operator("source.stop_capture", on("source", "/v1/sources/", "/capture")),

  "POST /v1/tenants": operator("tenant.create", async (id) => ({
    path: "/v1/tenants",
    body: { sourceId: await id("source"), key: randomUUID(), name: "New" },
  })),
  "GET /v1/tenants": owner("tenant.read", on("source", "/v1/tenants?sourceId=")),
  "GET /v1/tenants/:id": owner("tenant.read", on("tenant", "/v1/tenants/")),
  "GET /v1/tenants/:id/members": operator("tenant.read", on("tenant", "/v1/tenants/", "/members")),
  "POST /v1/tenants/:id/members": operator(
    "member.set",
    on("tenant", "/v1/tenants/", "/members", { userId: "new@example.com", role: "viewer" }),
  ),
  "DELETE /v1/tenants/:id/members/:userId": operator("member.remove", async (id) => ({
    path: `/v1/tenants/${await id("tenant")}/members/${await id("member")}`,
  })),
  "POST /v1/tenants/:id/erase": operator("tenant.erase", async (id) => ({
    path: `/v1/tenants/${await id("tenant")}/erase`,
    body: { confirm: await id("tenantName") },
  })),
  "GET /v1/tenants/:id/erasure": operator("tenant.read", on("erasedTenant", "/v1/tenants/", "/erasure")),

  "POST /v1/api-keys": owner("api-key.create", async () => ({
    path: "/v1/api-keys",
    body: { name: "nightly", scopes: ["backup:create"] },
  })),
  "GET /v1/api-keys": owner("api-key.read", path("/v1/api-keys")),
  "DELETE /v1/api-keys/:id": owner("api-key.revoke", on("apiKey", "/v1/api-keys/")),

  "GET /v1/settings": owner("settings.read", path("/v1/settings")),
  "PATCH /v1/settings": owner("settings.change", async () => ({
    path: "/v1/settings",
    body: { restoreApprovalHours: 48 },
  })),
  "GET /v1/tenants/:id/settings": operator("settings.read", on("tenant", "/v1/tenants/", "/settings")),
  "PATCH /v1/tenants/:id/settings": operator(
    "settings.change",
    on("tenant", "/v1/tenants/", "/settings", { backupsPerHour: 20 }),
  ),

  "GET /v1/audit-log": owner("audit.read", async (id) => ({
    path: `/v1/audit-log?tenantId=${await id("tenant")}&runId=${await id("backup")}`,
  })),
};
