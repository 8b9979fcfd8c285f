import { readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { getBackup, insertGaps, insertRun, listChain, listEpochs, softDeleteBackup } from "@rowback/db";
import { expect, test } from "vitest";
import { type CapturedShop, capturedShop } from "./testing/captured-shop.ts";
import { MISTAKE } from "./testing/shop.ts";

const WRITES = [
  "UPDATE orders SET total = total + 1 WHERE id % 7 = 0",
  "DELETE FROM orders WHERE id BETWEEN 300 AND 340",
  "INSERT INTO customers VALUES (9001, 'acme', 'new'), (9002, 'zenith', 'new too')",
];

test("incremental on incremental, and a synthetic full: each is restored as of its snapshot, when all of the log is gone", {
  timeout: 180_000,
}, async () => {
  const at = await capturedShop("chain");
  const made: { id: string; rows: string; fingerprints: unknown }[] = [];
  let parent = (await at.backup()).id;
  for (const write of WRITES) {
    await at.sql(write);
    parent = await at.fromLog("incremental", parent);
    const control = await at.backup();
    made.push({ id: parent, rows: await at.rows("acme"), fingerprints: await figuresOf(at, control.id) });
    expect(await figuresOf(at, parent)).toEqual(made.at(-1)?.fingerprints);
  }
  const synthetic = await at.fromLog("synthetic_full", parent);
  expect(await figuresOf(at, synthetic)).toEqual(made.at(-1)?.fingerprints);
  expect(await getBackup(at.db.system, synthetic)).toMatchObject({
    type: "full",
    madeFrom: "log",
    parentBackupId: null,
  });
  expect((await listChain(at.db.system, parent)).map(({ type }) => type)).toEqual([
    "full",
    "incremental",
    "incremental",
    "incremental",
  ]);
  await at.sql(MISTAKE);
  await at.caughtUp();
  await at.db.system.query({ text: "DELETE FROM change_segments" });
  await rm(join(rootOf(at), "sources"), { recursive: true });
  const others = await at.rows("zenith");
  for (const { id, rows } of [...made.toReversed(), { id: synthetic, rows: made.at(-1)?.rows }]) {
    await at.until((await at.apply(await at.preview(id))).id, "succeeded");
    expect(await at.rows("acme")).toBe(rows);
    const verified = await at.until((await verify(at, id)).id, "succeeded");
    expect(verified.result).toMatchObject({ backupId: id });
  }
  expect(await at.rows("zenith")).toBe(others);
});

test("a chain that is broken below is found out when it is verified and previewed, before anything is applied", async () => {
  const at = await capturedShop("broken");
  const full = (await at.backup()).id;
  await at.sql(WRITES[0] ?? "");
  const parent = await at.fromLog("incremental", full);
  await at.sql(WRITES[1] ?? "");
  const child = await at.fromLog("incremental", parent);
  expect(await softDeleteBackup(at.db.system, full)).toMatchObject({ outcome: "has_dependents" });
  await at.sql(MISTAKE);
  const rows = await at.rows("acme");
  const preview = await at.preview(child);
  const folder = join(rootOf(at), "tenants", at.tenantId, "backups", parent);
  const part = (await readdir(folder)).find((name) => name.startsWith("part-0-")) ?? "";
  await writeFile(join(folder, part), "not what was stored");
  for (const run of [await verify(at, child), await at.apply(preview), await at.askPreview(child)]) {
    const failed = await at.until(run.id, "failed");
    expect(failed).toMatchObject({ attempt: 1, error: { code: "chain_broken" } });
    expect(failed.error?.message).toContain(parent);
  }
  expect((await at.until((await at.askFromLog("incremental", child)).id, "failed")).error).toMatchObject({
    code: "chain_broken",
  });
  await at.db.system.query({ text: "UPDATE backup_jobs SET deleted_at = now() WHERE run_id = $1", values: [full] });
  expect((await at.until((await verify(at, child)).id, "failed")).error).toMatchObject({
    code: "chain_broken",
    message: expect.stringContaining(full),
  });
  expect(await at.rows("acme")).toBe(rows);
});

test("a gap since the full backup is refused for good, and a log that is behind is worth another try", async () => {
  const at = await capturedShop("gap", { waitMs: 5_000 });
  const full = (await at.backup()).id;
  const parent = await at.fromLog("incremental", full);
  await at.db.system.query({
    text: "UPDATE capture_states SET lease_token = gen_random_uuid(), worker = 'nobody', lease_until = now() + interval '1 hour'",
  });
  const behind = await at.until((await at.askFromLog("incremental", parent, 1)).id, "failed", 60_000);
  expect(behind.error).toMatchObject({ code: "capture_behind", retryable: true });

  const epoch = (await listEpochs(at.db.system, at.sourceId)).at(-1);
  if (epoch === undefined) throw new Error("no epoch");
  await insertGaps(at.db.system, [
    {
      sourceId: at.sourceId,
      epoch: epoch.epoch,
      reason: "table_rewritten",
      tenantKey: null,
      schemaName: "public",
      tableName: "orders",
      beginsLsn: epoch.coveredLsn,
      beginsAt: epoch.coveredAt,
      causeXid: 1_000_000_000n,
      objectKey: "gap",
    },
  ]);
  for (const type of ["incremental", "synthetic_full"] as const) {
    const refused = await at.until((await at.askFromLog(type, parent)).id, "failed", 60_000);
    expect(refused).toMatchObject({ attempt: 1, error: { code: "moment_unreachable", retryable: false } });
    expect(refused.error?.message).toContain("table_rewritten, public.orders");
  }
});

test("a table that was rewritten a moment ago makes no backup that lies, though the log has come so far and says nothing of it yet", async () => {
  const at = await capturedShop("rewritten", { watchTablesMs: 4_000 });
  const full = (await at.backup()).id;
  await at.caughtUp();
  await at.sql("ALTER TABLE orders ALTER total TYPE numeric(20, 3) USING total * 2");
  const { id } = await at.askFromLog("incremental", full);
  // Changes of another table take the log on; a change of this one would make the capture look.
  await expect
    .poll(
      async () => {
        await at.sql("UPDATE customers SET name = name || '!' WHERE id = 1");
        return (await at.run(id)).status;
      },
      { timeout: 30_000, interval: 50 },
    )
    .not.toMatch(/queued|running/);
  expect(await at.run(id)).toMatchObject({ status: "failed", error: { code: "moment_unreachable" } });
});

async function figuresOf(at: CapturedShop, backupId: string): Promise<unknown> {
  return (await getBackup(at.db.system, backupId))?.tableStats;
}

function rootOf({ config }: CapturedShop): string {
  if (config.store.driver !== "filesystem") throw new Error("the fixture's store is a folder");
  return config.store.root;
}

async function verify(at: CapturedShop, backupId: string): Promise<{ id: string }> {
  const { tenantId, sourceId } = at;
  const asked = { kind: "backup_verify", tenantId, sourceId, maxAttempts: 3, requestedBy: "user-1" } as const;
  const inserted = await insertRun(at.db.system, { ...asked, params: { backupId } });
  if (inserted.outcome !== "created") throw new Error(inserted.outcome);
  await at.enqueue(inserted.run);
  return inserted.run;
}
