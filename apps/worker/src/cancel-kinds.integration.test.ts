import { insertRestorePointRun, insertRun, type Run, type RunKind, requestCancel } from "@rowback/db";
import { JOBS } from "@rowback/jobs";
import { startTcpProxy, type TcpProxy } from "@rowback/local-services";
import { testS3 } from "@rowback/local-services/testing";
import { captureNames } from "@rowback/recovery";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { askCapture, dropSlot } from "./testing/capture.ts";
import { type Shop, shop } from "./testing/shop.ts";
import { startWorkerProcess } from "./testing/worker-process.ts";

// A run of any kind ends within two seconds of the request, which comes from another process than its worker's: also one that waits for a source
// or a store that has fallen silent.

const WITHIN_MS = 2_000;

/** Waits until the run hangs, cancels it as the API does, and says after how many milliseconds it had ended. */
async function cancelHanging(at: Shop, { id }: { readonly id: string }): Promise<number> {
  await vi.waitFor(
    async () => {
      const { status, startedAt } = await at.run(id);
      expect(status).toBe("running");
      // Everything is on this machine and small: what has not ended by then waits for what does not answer.
      expect(Date.now() - (startedAt?.getTime() ?? Number.NaN)).toBeGreaterThan(700);
    },
    { timeout: 20_000, interval: 20 },
  );
  return await cancel(at, id);
}

async function cancel(at: Shop, id: string): Promise<number> {
  const askedAt = performance.now();
  await requestCancel(at.db.system, id);
  await at.producer.tellOfCancellation(id);
  const run = await at.until(id, "cancelled", 15_000);
  expect(run).toMatchObject({ result: null, error: null });
  return performance.now() - askedAt;
}

async function insert(at: Shop, kind: RunKind, tenantId: string | null, params: unknown): Promise<Run> {
  const { sourceId } = at;
  const asked = { kind, tenantId, sourceId, maxAttempts: JOBS[kind].attempts, requestedBy: "user-1", params };
  const inserted = await insertRun(at.db.system, asked);
  if (inserted.outcome !== "created") throw new Error(inserted.outcome);
  await at.enqueue(inserted.run);
  return inserted.run;
}

async function askPoint(at: Shop): Promise<Run> {
  const { tenantId, sourceId } = at;
  const asked = { tenantId, sourceId, maxAttempts: JOBS.restore_point.attempts, requestedBy: "user-1" };
  const inserted = await insertRestorePointRun(at.db.system, { ...asked, params: { name: "here" } }, "here");
  if (inserted.outcome !== "created") throw new Error(inserted.outcome);
  await at.enqueue(inserted.run);
  return inserted.run;
}

async function proxyTo(url: string): Promise<TcpProxy> {
  const proxy = await startTcpProxy({ port: Number(new URL(url).port) });
  onTestFinished(() => proxy.close());
  return proxy;
}

test("each kind that asks a source, when that has fallen silent; and each while it is queued", {
  timeout: 180_000,
}, async () => {
  const at = await shop("cancel-kinds");
  onTestFinished(() => dropSlot(at.source, captureNames(at.sourceId).slotName));
  const first = await at.start();
  await at.until((await askCapture(at, "capture_setup")).id, "succeeded");
  const { id: backupId } = await at.backup();
  await at.source.pool.query("DELETE FROM orders WHERE tenant_id = 'acme'");
  const preview = await at.preview(backupId);
  await first.close();
  const kinds: Readonly<Record<string, () => Promise<Run>>> = {
    discovery: () => at.ask({ kind: "discovery" }),
    backup: () => at.ask({ kind: "backup" }),
    restore_preview: () => at.askPreview(backupId),
    restore: () => at.apply(preview),
    restore_point: () => askPoint(at),
    capture_setup: () => askCapture(at, "capture_setup"),
    capture_teardown: () => askCapture(at, "capture_teardown"),
  };

  const took: Record<string, number> = {};
  for (const [kind, ask] of Object.entries(kinds)) took[`${kind}, queued`] = await cancel(at, (await ask()).id);

  const proxy = await proxyTo(at.source.url);
  const { output } = startWorkerProcess(at, { sourceUrl: proxy.through(at.source.url), graceMs: 0 });
  // Connections that wait in its pool will be silent too, and new ones never get an answer.
  await at.until((await at.ask({ kind: "discovery" })).id, "succeeded");
  proxy.blackhole();
  for (const [kind, ask] of Object.entries(kinds)) took[`${kind}, running`] = await cancelHanging(at, await ask());
  for (const [what, ms] of Object.entries(took))
    expect(ms, `${what}: ${JSON.stringify(took)} ${output()}`).toBeLessThan(WITHIN_MS);
});

test("one whose source falls silent in the middle of a statement, so that no cancel request arrives either", async () => {
  const at = await shop("cancel-silent");
  const proxy = await proxyTo(at.source.url);
  startWorkerProcess(at, { sourceUrl: proxy.through(at.source.url), graceMs: 0 });
  const holder = await at.source.pool.connect();
  onTestFinished(() => holder.release());
  await holder.query("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
  const { id } = await at.ask({ kind: "backup" });
  await vi.waitFor(
    async () => {
      const { rowCount } = await at.source.pool.query(
        "SELECT FROM pg_stat_activity WHERE application_name LIKE 'rowback%' AND wait_event_type = 'Lock' AND datname = current_database()",
      );
      expect(rowCount).toBeGreaterThan(0);
    },
    { timeout: 20_000, interval: 20 },
  );
  proxy.blackhole();
  expect(await cancelHanging(at, { id })).toBeLessThan(WITHIN_MS);
  await holder.query("ROLLBACK");
});

describe.skipIf(testS3() === null)("each kind that reads the store", () => {
  test("when that has fallen silent", { timeout: 60_000 }, async () => {
    const settings = testS3();
    if (settings === null) throw new Error("there is no S3 server");
    const at = await shop("cancel-store");
    onTestFinished(() => dropSlot(at.source, captureNames(at.sourceId).slotName));
    const proxy = await proxyTo(settings.endpoint);
    await at.start({}, { store: { driver: "s3", ...settings, endpoint: proxy.through(settings.endpoint) } });
    await at.until((await askCapture(at, "capture_setup")).id, "succeeded");
    const { id: backupId } = await at.backup();
    proxy.blackhole();
    const took = {
      backup_verify: await cancelHanging(at, await insert(at, "backup_verify", at.tenantId, { backupId })),
      history: await cancelHanging(
        at,
        await insert(at, "history", at.tenantId, {
          ...{ table: "public.orders", key: ["2"], backupId, epoch: 1, limit: 10, after: null },
        }),
      ),
    };
    for (const [what, ms] of Object.entries(took)) expect(ms, what).toBeLessThan(WITHIN_MS);
  });
});
