import { randomUUID } from "node:crypto";
import {
  beginEpoch,
  claimRun,
  listRestores,
  recordPreRestoreBackup,
  requestCancel,
  succeedRestoreRun,
  succeedRun,
  turnCaptureOn,
  updateTenantRules,
  updateTenantSettings,
  withTenant,
} from "@rowback/db";
import { finishBackup, finishRestore, runOf, type TestApi, type TestTenant } from "./test-api.ts";

/** The digest of every plan made here. */
export const PLAN_DIGEST = "d".repeat(64);

/** Makes a new one of that tenant; resolves with its id. */
type Maker = (api: TestApi, tenant: TestTenant) => Promise<string>;

const discovery: Maker = async (api, { sourceId }) => {
  const { id } = runOf(await api.call("POST", `/v1/sources/${sourceId}/discovery`, { user: "olga" }));
  const result = { protectedTables: 4, unprotectedTables: 1, sharedTables: 1, findings: [] };
  await succeedRun(api.db.system, await claim(api, id), result);
  return sourceId;
};

const capture: Maker = async (api, { sourceId }) => {
  await turnCaptureOn(api.db.system, { sourceId, slotName: "rowback_x", publicationName: "rowback_x", findings: [] });
  return sourceId;
};

const member: Maker = async (api, { id }) => {
  const userId = `member-${randomUUID()}`;
  await api.member(id, userId, "viewer");
  return userId;
};

const queuedBackup: Maker = async (api, { id, owner }) => {
  // Walking all routes takes more backups than a tenant may ask for within an hour.
  await updateTenantSettings(api.db.system, id, { backupsPerHour: 1_000 });
  return runOf(await api.call("POST", "/v1/backups", { user: owner, body: {} })).id;
};

const backup: Maker = async (api, tenant) => {
  const id = await queuedBackup(api, tenant);
  await finishBackup(api.db, id);
  return id;
};

/** One that the change log goes on from. */
const capturedBackup: Maker = async (api, tenant) => {
  await capture(api, tenant);
  await beginEpoch(api.db.system, { sourceId: tenant.sourceId, startXid: 1n, startLsn: "0".repeat(16), startedAt: 0n });
  return backup(api, tenant);
};

const deletedBackup: Maker = async (api, tenant) => {
  const id = await backup(api, tenant);
  await api.call("DELETE", `/v1/backups/${id}`, { user: tenant.owner });
  return id;
};

const queuedPreview: Maker = async (api, tenant) => {
  const backupId = await backup(api, tenant);
  return runOf(await api.call("POST", "/v1/restores/preview", { user: tenant.owner, body: { backupId } })).id;
};

const preview: Maker = async (api, tenant) => {
  const id = await queuedPreview(api, tenant);
  await finishRestore(api.db, id, PLAN_DIGEST);
  return id;
};

/** One that changed something, so that it can be undone. */
const restore: Maker = async (api, tenant) => {
  const [previewId, before] = [await preview(api, tenant), await backup(api, tenant)];
  const body = { previewId, planDigest: PLAN_DIGEST };
  await withdrawWaiting(api, tenant);
  const { id } = runOf(await api.call("POST", "/v1/restores", { user: tenant.owner, body }));
  const held = await claim(api, id);
  await recordPreRestoreBackup(api.db.system, held, before);
  const outcome = { result: {}, planDigest: PLAN_DIGEST, changes: [], fingerprintsAfter: {} };
  if (!(await succeedRestoreRun(api.db.system, held, outcome))) throw new Error("the lease was lost");
  return id;
};

/** Asked for by another admin, so that the owner may decide it. */
const waitingRestore: Maker = async (api, tenant) => {
  const asker = `asker-${randomUUID()}`;
  await api.member(tenant.id, asker, "admin");
  const rule = (restoresNeedApproval: boolean) =>
    withTenant(api.db, tenant.id, (client) => updateTenantRules(client, { restoresNeedApproval }));
  const body = { previewId: await preview(api, tenant), planDigest: PLAN_DIGEST };
  await withdrawWaiting(api, tenant);
  await rule(true);
  const { id } = runOf(await api.call("POST", "/v1/restores", { user: asker, body }));
  await rule(false);
  return id;
};

/** A restore that waits stands in the way of the tenant's others. */
async function withdrawWaiting(api: TestApi, { id }: TestTenant): Promise<void> {
  await withTenant(api.db, id, async (client) => {
    const { items } = await listRestores(client, { status: "awaiting_approval" }, {});
    for (const restore of items) await requestCancel(client, restore.id);
  });
}

const apiKey: Maker = async (api, { owner }) => {
  const body = { name: "nightly", scopes: ["backup:create"] };
  const { id } = (await api.call("POST", "/v1/api-keys", { user: owner, body })).json<{ id: string }>();
  return id;
};

/** Erased, and nobody's: an erasure ends its tenant. */
const erasedTenant: Maker = async (api) => {
  const { id, owner } = await api.tenant();
  await api.call("POST", `/v1/tenants/${id}/erase`, { user: "olga", body: { confirm: nameOf(owner) } });
  return id;
};

/** As test-api.ts names tenants. */
const nameOf = (owner: string): string => `tenant of ${owner}`;

async function claim(api: TestApi, runId: string): Promise<{ runId: string; attemptToken: string }> {
  const run = await claimRun(api.db.system, { runId, worker: "test", leaseMs: 60_000 });
  if (run === null) throw new Error(`run ${runId} could not be claimed`);
  return { runId, attemptToken: run.attemptToken };
}

/** Everything that a route may be given the id of. */
export const THINGS = {
  tenant: async (_api, { id }) => id,
  tenantName: async (_api, { owner }) => nameOf(owner),
  erasedTenant,
  member,
  source: async (_api, { sourceId }) => sourceId,
  sourceOfNobody: (api) => api.source(),
  discovery,
  capture,
  backup,
  capturedBackup,
  queuedBackup,
  deletedBackup,
  queuedPreview,
  preview,
  restore,
  waitingRestore,
  apiKey,
} satisfies Record<string, Maker>;

export type Thing = keyof typeof THINGS;
