import { beginPurge, insertRun, markPurged, type Run, softDeleteBackup } from "@rowback/db";
import { deleteBackup } from "@rowback/recovery";
import { type ObjectStore, openStore } from "@rowback/storage";
import { expect, test } from "vitest";
import { createHandlers } from "./handlers.ts";
import { withLease } from "./leased-store.ts";
import { capturedShop } from "./testing/captured-shop.ts";
import { type Shop, shop } from "./testing/shop.ts";
import type { WorkerOptions } from "./worker.ts";

// Neither a verification nor a synthetic full backup holds off the purge of what it reads: what can't be read any more then is gone, and never "damaged".

/** A worker to which something happens right before it opens an object of this name for the first time. */
function struckBefore(name: RegExp, strike: (store: ObjectStore) => Promise<void>): WorkerOptions {
  let struck = false;
  return {
    handlers: (worker) => {
      const { store } = worker;
      const get: ObjectStore["get"] = async (key, options) => {
        if (!struck && name.test(key)) {
          struck = true;
          await strike(store);
        }
        return await store.get(key, options);
      };
      const watched: ObjectStore = {
        get,
        put: (key, body, options) => store.put(key, body, options),
        head: (key, options) => store.head(key, options),
        list: (prefix, options) => store.list(prefix, options),
        delete: (keys, options) => store.delete(keys, options),
        collectUnfinished: (options) => store.collectUnfinished(options),
        probe: (options) => store.probe(options),
        close: () => store.close(),
      };
      return createHandlers({ ...worker, store: watched, leasedStore: (holder) => withLease(watched, holder) });
    },
  };
}

async function verify(at: Shop, backupId: string): Promise<Run> {
  const { tenantId, sourceId } = at;
  const asked = { kind: "backup_verify", tenantId, sourceId, maxAttempts: 3, requestedBy: "user-1" } as const;
  const result = await insertRun(at.db.system, { ...asked, params: { backupId } });
  if (result.outcome !== "created") throw new Error(result.outcome);
  await at.enqueue(result.run);
  return await at.until(result.run.id, "failed");
}

/** What the sweeper does to a backup whose grace is over. */
async function purge(at: Shop, store: ObjectStore, backupId: string): Promise<void> {
  await softDeleteBackup(at.db.system, backupId);
  await at.db.system.query({
    text: "UPDATE backup_jobs SET deleted_at = '2020-01-01' WHERE run_id = $1",
    values: [backupId],
  });
  expect(await beginPurge(at.db.system, backupId)).toBe(true);
  await deleteBackup(store, { tenantId: at.tenantId, backupId });
  expect(await markPurged(at.db.system, backupId, "sweeper")).toBe(true);
}

test.each([
  ["its parts", /part-0/],
  ["its manifest", /manifest/],
])(
  "a backup that is purged right before a verification reads %s is not there any more, and not damaged",
  async (_, name) => {
    const at = await shop("purged-meanwhile");
    let backupId = "";
    await at.start(struckBefore(name, (store) => purge(at, store, backupId)));
    backupId = (await at.backup()).id;
    const run = await verify(at, backupId);
    expect(run).toMatchObject({ attempt: 1, error: { code: "not_found", retryable: false } });
    expect(run.error?.message).toContain(backupId);
  },
);

test("a synthetic full backup whose chain is purged right before it reads it says so, and calls nothing broken", async () => {
  let parentId = "";
  let purged: () => Promise<void> = async () => {};
  const at = await capturedShop("purged-parent", { worker: struckBefore(/part-0/, () => purged()) });
  parentId = (await at.backup()).id;
  purged = async () => {
    const store = openStore(at.config.store);
    await purge(at, store, parentId).finally(() => store.close());
  };
  const run = await at.until((await at.askFromLog("synthetic_full", parentId)).id, "failed");
  expect(run).toMatchObject({ attempt: 1, error: { code: "not_found", retryable: false } });
  expect(run.error?.message).toContain(parentId);
});

test("one that loses a part while nobody deletes it is damaged", async () => {
  const at = await shop("damaged-meanwhile");
  const lose = async (store: ObjectStore): Promise<void> => {
    for await (const { key } of store.list(`tenants/${at.tenantId}/`))
      if (key.includes("/part-")) await store.delete([key]);
  };
  await at.start(struckBefore(/part-0/, lose));
  const { id } = await at.backup();
  expect(await verify(at, id)).toMatchObject({ attempt: 1, error: { code: "archive_damaged" } });
});
