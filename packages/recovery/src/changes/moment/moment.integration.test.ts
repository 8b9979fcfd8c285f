import { expect, test } from "vitest";
import { applyRestore } from "../../restore/apply.ts";
import type { RestoreRequest } from "../../restore/plan.ts";
import { previewRestore } from "../../restore/preview.ts";
import { ACCIDENT, SHOP } from "../../restore/testing/shop.ts";
import { anotherUser, countsOf, restoreWorld, TENANT_ID, type World } from "../../restore/testing/world.ts";
import type { Transaction } from "../log/segment-index.ts";
import type { MomentLimit } from "./change-span.ts";
import { openMoment } from "./open-moment.ts";
import { DiffCapture } from "./testing/diff-capture.ts";

type Wish = Partial<RestoreRequest>;

async function shopWorld(): Promise<{ world: World; capture: DiffCapture; backupId: string }> {
  const world = await restoreWorld({ sql: SHOP });
  const capture = await DiffCapture.start(world, ["1", "2"]);
  const backupId = await world.backup("1");
  return { world, capture, backupId };
}

function request(backupId: string, wish: Wish): RestoreRequest {
  return {
    tenantId: TENANT_ID,
    tenantKey: "1",
    backupId,
    mode: "exact",
    tables: null,
    keys: null,
    triggers: "suppress",
    ...wish,
  };
}

/** Preview, then apply: what a user does. */
async function restoreTo(
  world: World,
  capture: DiffCapture,
  backupId: string,
  limit: MomentLimit,
  wish: Wish = {},
): Promise<Awaited<ReturnType<typeof previewRestore>>> {
  const open = () =>
    openMoment(world.ctx, {
      tenantId: TENANT_ID,
      tenantKey: "1",
      backupId,
      manifestSha256: null,
      limit,
      segments: () => capture.places,
    });
  const plan = await previewRestore(world.ctx, request(backupId, wish), open);
  await applyRestore(world.ctx, { ...request(backupId, wish), expect: { planDigest: plan.digest } }, open);
  return plan;
}

test("the tenant comes back to every moment between two backups, by time, by LSN and just before a transaction, and nobody else moves", async () => {
  const { world, capture, backupId } = await shopWorld();
  const moments: { transaction: Transaction; rows: Record<string, string[]> }[] = [];
  for (const statement of ACCIDENT) {
    const transaction = await capture.transaction(statement);
    moments.push({ transaction, rows: await capture.rows("1") });
    await capture.transaction("UPDATE shop.orders SET total = total + 1 WHERE tenant_id = 2");
  }
  await world.backup("1");
  const others = await capture.rows("2");
  for (const [at, { transaction, rows }] of [...moments.entries()].toReversed()) {
    const next = moments[at + 1]?.transaction;
    const limits: MomentLimit[] = [
      { kind: "time", at: transaction.at },
      { kind: "lsn", lsn: transaction.lsn },
      ...(next === undefined ? [] : [{ kind: "before" as const, xid: next.xid }]),
    ];
    const limit = limits[at % limits.length] ?? { kind: "time", at: transaction.at };
    await restoreTo(world, capture, backupId, limit);
    expect(await capture.rows("1")).toEqual(rows);
    expect(await capture.rows("2")).toEqual(others);
  }
});

test("a transaction that the base's snapshot did not show is folded in, though it began and wrote before", async () => {
  const world = await restoreWorld({ sql: SHOP });
  const capture = await DiffCapture.start(world, ["1", "2"]);
  const slow = await anotherUser(world);
  await slow.query("BEGIN");
  await slow.query("DELETE FROM shop.log WHERE tenant_id = 1");
  const { rows } = await slow.query<{ xid: string }>("SELECT pg_current_xact_id()::text AS xid");
  await capture.transaction("UPDATE shop.orders SET total = 7 WHERE tenant_id = 1");
  const backupId = await world.backup("1");
  await slow.query("COMMIT");
  const committed = await capture.committed(rows[0]?.xid ?? "");
  const atCommit = await capture.rows("1");
  await capture.transaction(
    "UPDATE shop.orders SET total = 9 WHERE tenant_id = 1",
    "INSERT INTO shop.log VALUES (1, 'new')",
  );
  await restoreTo(world, capture, backupId, { kind: "lsn", lsn: committed.lsn });
  expect(await capture.rows("1")).toEqual(atCommit);
});

test("missing_only, chosen tables and chosen keys work for a moment as for a backup", async () => {
  const { world, capture, backupId } = await shopWorld();
  const before = await capture.transaction("UPDATE shop.orders SET total = 100 WHERE id = 2");
  await capture.transaction(
    "DELETE FROM shop.lines WHERE order_id IN (2, 4)",
    "DELETE FROM shop.log WHERE tenant_id = 1",
  );
  await capture.transaction("UPDATE shop.orders SET total = 5 WHERE id = 2");
  const limit: MomentLimit = { kind: "time", at: before.at };
  const logOnly = await restoreTo(world, capture, backupId, limit, { tables: ["shop.log"] });
  expect(countsOf(logOnly)).toEqual({ "shop.log": [29, 0, 0, 0] });
  const order = await restoreTo(world, capture, backupId, limit, { keys: [{ table: "shop.orders", keys: [["2"]] }] });
  expect(countsOf(order)).toMatchObject({ "shop.orders": [0, 1, 0, expect.anything()] });
  const missing = await restoreTo(world, capture, backupId, limit, { mode: "missing_only" });
  expect(countsOf(missing)).toMatchObject({ "shop.lines": [6, 0, 0, expect.anything()], "shop.log": [0, 0, 0, 29] });
  const { rows } = await world.db.pool.query("SELECT total FROM shop.orders WHERE id = 2");
  expect(rows).toEqual([{ total: "100.00" }]);
});

test("a column that was renamed, added or widened since is mapped; the moment has the columns of its last change", async () => {
  const { world, capture, backupId } = await shopWorld();
  await capture.alter(
    "ALTER TABLE shop.log RENAME COLUMN message TO said",
    "ALTER TABLE shop.log ADD COLUMN level integer",
  );
  const after = await capture.transaction("INSERT INTO shop.log (tenant_id, said, level) VALUES (1, 'hello', 3)");
  const rows = await capture.rows("1");
  await capture.transaction("DELETE FROM shop.log WHERE tenant_id = 1");
  await restoreTo(world, capture, backupId, { kind: "lsn", lsn: after.lsn });
  expect(await capture.rows("1")).toEqual(rows);
});
