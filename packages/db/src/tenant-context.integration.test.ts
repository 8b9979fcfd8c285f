import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { Queryable } from "./control-database.ts";
import { getTenant } from "./tables/tenants.ts";
import { withSystem, withTenant } from "./tenant-context.ts";
import { type ControlFixture, controlFixture } from "./testing/control-fixture.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("context");
});
afterAll(() => control.close());

const addOperator = (q: Queryable, userId: string) =>
  q.query({ text: "INSERT INTO operators (user_id) VALUES ($1)", values: [userId] });
const operators = async (): Promise<unknown[]> =>
  (await control.db.system.query({ text: "SELECT user_id FROM operators" })).rows;
const who = async (q: Queryable): Promise<unknown> =>
  (
    await q.query({
      text: "SELECT current_user AS role, nullif(current_setting('rowback.tenant_id', true), '') AS tenant",
    })
  ).rows[0];

describe("withTenant and withSystem", () => {
  test("each statement runs under the role, and the tenant, of its transaction alone", async () => {
    const { db, tenantId } = control;
    expect(await withTenant(db, tenantId, who)).toEqual({ role: "rowback_tenant", tenant: tenantId });
    expect(await withSystem(db, who)).toEqual({ role: "rowback_system", tenant: null });
    // More than there are connections, so that each has been a tenant's before.
    await Promise.all(Array.from({ length: 20 }, () => withTenant(db, tenantId, who)));
    for (let index = 0; index < 20; index += 1) {
      expect(await who(db.system)).toEqual({ role: "rowback_system", tenant: null });
    }
  });

  test("a throw rolls back, and the error comes out as it was", async () => {
    const error = new Error("no");
    await expect(
      withSystem(control.db, async (client) => {
        await addOperator(client, "gone");
        throw error;
      }),
    ).rejects.toBe(error);
    expect(await operators()).toEqual([]);
  });

  test("a swallowed error of a statement does not pass for a commit", async () => {
    await expect(
      withSystem(control.db, async (client) => {
        await addOperator(client, "gone");
        await client.query({ text: "SELECT 1/0" }).catch(() => undefined);
      }),
    ).rejects.toThrow(/rolled back/);
    expect(await operators()).toEqual([]);
  });

  test("a client that outlived its transaction does nothing", async () => {
    const { db, tenantId, otherTenantId } = control;
    const leaked = await withTenant(db, tenantId, async (client) => client);
    await expect(async () => getTenant(leaked, otherTenantId)).rejects.toThrow(/has ended/);
  });

  test("a tenant id that is no UUID never reaches the database", async () => {
    await expect(async () => withTenant(control.db, "x'; DROP TABLE runs; --", who)).rejects.toThrow(/UUID/i);
  });

  test("a connection that was cut inside a transaction is not used again", async () => {
    await expect(
      withSystem(control.db, (client) => client.query({ text: "SELECT pg_terminate_backend(pg_backend_pid())" })),
    ).rejects.toThrow();
    for (let index = 0; index < 10; index += 1)
      expect(await who(control.db.system)).toMatchObject({ role: "rowback_system" });
  });

  test("a connection that was cut between two statements fails the next one, and nothing else", async () => {
    const { db, database } = control;
    await expect(
      withSystem(db, async (client) => {
        const pid = (await client.query({ text: "SELECT pg_backend_pid() AS pid" })).rows[0];
        const values = Object.values(pid ?? {});
        await database.pool.query("SELECT pg_terminate_backend($1, 5000)", values);
        // The server's farewell arrives while nobody waits for anything on this connection.
        await vi.waitFor(async () => {
          const { rowCount } = await database.pool.query("SELECT FROM pg_stat_activity WHERE pid = $1", values);
          expect(rowCount).toBe(0);
        });
        await client.query({ text: "SELECT 1" });
      }),
    ).rejects.toThrow();
    expect(await who(db.system)).toMatchObject({ role: "rowback_system" });
  });
});
