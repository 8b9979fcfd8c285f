import { expect, it } from "vitest";
import { readCommitMark, settleTransaction } from "./commit-mark.ts";
import { restoreWorld } from "./testing/world.ts";

const SQL = "CREATE TABLE tenants (id int PRIMARY KEY); INSERT INTO tenants VALUES (1)";

it("tells a committed transaction from a rolled-back one, and from one of another history", async () => {
  const { db, ctx } = await restoreWorld({ sql: SQL });
  const client = await db.pool.connect();
  const markOf = async (end: "COMMIT" | "ROLLBACK"): ReturnType<typeof readCommitMark> => {
    await client.query("BEGIN; INSERT INTO tenants SELECT max(id) + 1 FROM tenants");
    const mark = await readCommitMark(client);
    await client.query(end);
    return mark;
  };
  const fate = (mark: Awaited<ReturnType<typeof readCommitMark>>) => settleTransaction(ctx.source, mark, ctx.signal);
  const committed = await markOf("COMMIT");
  expect(await fate(committed)).toBe("committed");
  expect(await fate(await markOf("ROLLBACK"))).toBe("rolled_back");
  expect(await fate({ ...committed, timeline: "00000009" })).toBe("unknown");
  expect(await fate({ ...committed, transactionId: "999999999" })).toBe("unknown");
  client.release();
});

it("ends a transaction that nobody may commit any more, and the rows it holds are free", async () => {
  const { db, ctx } = await restoreWorld({ sql: SQL });
  const lost = await db.pool.connect();
  const ended = new Promise<void>((resolve) => lost.on("error", () => resolve()));
  await lost.query("BEGIN; UPDATE tenants SET id = 2");
  const mark = await readCommitMark(lost);
  expect(await settleTransaction(ctx.source, mark, ctx.signal)).toBe("rolled_back");
  await ended;
  await expect(lost.query("COMMIT")).rejects.toThrow();
  lost.release(true);
  await db.pool.query("UPDATE tenants SET id = 3");
});
