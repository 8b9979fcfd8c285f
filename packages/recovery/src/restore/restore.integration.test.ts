import { describe, expect, it } from "vitest";
import { changedTables } from "./plan.ts";
import { ACCIDENT, SHOP } from "./testing/shop.ts";
import { restoreWorld } from "./testing/world.ts";

describe("an exact restore", () => {
  it("brings the tenant back byte for byte, touches nobody else, and is undone just so", async () => {
    const world = await restoreWorld({ sql: SHOP });
    const atBackup = await world.rows();
    const backup = await world.backup("1");
    await world.sql(...ACCIDENT);
    const afterAccident = await world.rows();
    expect(afterAccident).not.toEqual(atBackup);

    const plan = await world.preview("1", backup);
    expect(plan.conflicts).toEqual([]);
    expect(plan.drift).toEqual([]);
    expect(plan.warnings).toEqual([]);
    expect(plan.triggersMode).toBe("suppress");
    expect(await world.rows()).toEqual(afterAccident);
    const counts = Object.fromEntries(plan.tables.map((t) => [t.table, [t.insert, t.update, t.delete, t.unchanged]]));
    expect(counts).toEqual({
      "shop.tenants": [0, 0, 0, 1],
      "shop.customers": [5, 15, 1, 0],
      "shop.orders": [10, 0, 0, 10],
      "shop.lines": [30, 1, 0, 29],
      "shop.log": [6, 0, 1, 23],
    });

    const before = await world.backup("1", changedTables(plan));
    const outcome = await world.apply("1", backup, { expect: { planDigest: plan.digest } });
    expect(await world.rows()).toEqual(atBackup);
    expect(
      (await world.preview("1", backup)).tables.every((table) => table.insert + table.update + table.delete === 0),
    ).toBe(true);

    const undo = {
      tables: outcome.tables.map((table) => table.table),
      expect: { fingerprints: outcome.fingerprintsAfter },
    };
    await world.apply("1", before, undo);
    expect(await world.rows()).toEqual(afterAccident);
  });
});
