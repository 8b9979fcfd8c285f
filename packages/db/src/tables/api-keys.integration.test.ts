import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { withTenant } from "../tenant-context.ts";
import { type ControlFixture, controlFixture } from "../testing/control-fixture.ts";
import {
  type ApiKey,
  findLiveApiKey,
  getApiKey,
  insertApiKey,
  listApiKeys,
  recordApiKeyUse,
  revokeApiKey,
} from "./api-keys.ts";
import { removeMember, setMember } from "./members.ts";

let control: ControlFixture;
beforeAll(async () => {
  control = await controlFixture("api_keys");
});
afterAll(() => control.close());

const DAY_MS = 24 * 3_600_000;
const secretSha256 = randomBytes(32);

async function keyOf(userId: string, change: { expiresAt?: Date; tenantId?: string } = {}): Promise<ApiKey> {
  const { tenantId = control.tenantId, expiresAt = new Date(Date.now() + DAY_MS) } = change;
  await setMember(control.db.system, { userId, tenantId, role: "member" });
  return withTenant(control.db, tenantId, (client) =>
    insertApiKey(client, {
      name: "ci",
      prefix: randomBytes(8).toString("hex"),
      secretSha256,
      scopes: ["backup:create", "backup:read"],
      createdBy: userId,
      expiresAt,
    }),
  );
}

const live = (key: ApiKey) => findLiveApiKey(control.db.system, key.prefix);

test("a key counts in its maker's present role, until it is revoked, expired, or he is no member", async () => {
  const { system } = control.db;
  const key = await keyOf("ann");
  expect(await live(key)).toEqual({
    id: key.id,
    tenantId: control.tenantId,
    secretSha256,
    scopes: ["backup:create", "backup:read"],
    userId: "ann",
    role: "member",
    isUseStale: true,
  });
  await setMember(system, { userId: "ann", tenantId: control.tenantId, role: "viewer" });
  expect(await live(key)).toMatchObject({ role: "viewer" });
  expect(await findLiveApiKey(system, "0".repeat(16))).toBeNull();
  expect(await live(await keyOf("ann", { expiresAt: new Date(Date.now() - 1000) }))).toBeNull();

  const revoke = () => withTenant(control.db, control.tenantId, (client) => revokeApiKey(client, key.id, "bob"));
  expect([await revoke(), await revoke()]).toEqual([true, false]);
  expect(await live(key)).toBeNull();
});

test("the keys of a member who left stay dead when he comes back; those of others live", async () => {
  const { system } = control.db;
  const [key, others, elsewhere] = [
    await keyOf("leaver"),
    await keyOf("stayer"),
    await keyOf("leaver", { tenantId: control.otherTenantId }),
  ];
  expect(await removeMember(system, "leaver", control.tenantId, "olga")).toBe(true);
  expect(await live(key)).toBeNull();
  await setMember(system, { userId: "leaver", tenantId: control.tenantId, role: "owner" });
  expect(await live(key)).toBeNull();
  expect(await withTenant(control.db, control.tenantId, (client) => getApiKey(client, key.id))).toMatchObject({
    revokedBy: "olga",
  });
  expect(await live(others)).not.toBeNull();
  expect(await live(elsewhere)).not.toBeNull();
});

test("its use is noted once in a while, by one of many, and by none that would wait", async () => {
  const { system } = control.db;
  const key = await keyOf("ann");
  const { pool } = control.database;
  const lastUse = async () => (await pool.query("SELECT last_used_at FROM api_keys WHERE id = $1", [key.id])).rows[0];
  const versions = async () => (await pool.query("SELECT xmin::text FROM api_keys WHERE id = $1", [key.id])).rows[0];

  await Promise.all(Array.from({ length: 8 }, () => recordApiKeyUse(system, key.id)));
  expect((await lastUse()).last_used_at).toBeInstanceOf(Date);
  expect(await live(key)).toMatchObject({ isUseStale: false });
  const before = await versions();
  await recordApiKeyUse(system, key.id);
  expect(await versions()).toEqual(before);

  await pool.query("UPDATE api_keys SET last_used_at = now() - interval '11 minutes' WHERE id = $1", [key.id]);
  expect(await live(key)).toMatchObject({ isUseStale: true });
  const holder = await pool.connect();
  try {
    await holder.query("BEGIN");
    await holder.query("SELECT FROM api_keys WHERE id = $1 FOR UPDATE", [key.id]);
    await recordApiKeyUse(system, key.id);
    await holder.query("COMMIT");
  } finally {
    holder.release();
  }
  expect(await live(key)).toMatchObject({ isUseStale: true });
  await recordApiKeyUse(system, key.id);
  expect(await live(key)).toMatchObject({ isUseStale: false });
});

test("a tenant lists its own keys, page by page, one maker's or all, the ended ones on demand", async () => {
  const tenantId = control.otherTenantId;
  const made: ApiKey[] = [];
  for (const userId of ["p", "q", "p"]) made.push(await keyOf(userId, { tenantId }));
  const expired = await keyOf("p", { tenantId, expiresAt: new Date(Date.now() - 1000) });
  const ids = (keys: readonly ApiKey[]) => keys.map(({ id }) => id);
  await withTenant(control.db, tenantId, async (client) => {
    const mine = { createdBy: "p", includeEnded: false };
    expect(ids((await listApiKeys(client, mine, {})).items)).toEqual([made[2]?.id, made[0]?.id]);
    expect(ids((await listApiKeys(client, { ...mine, includeEnded: true }, {})).items)).toContain(expired.id);
    const first = await listApiKeys(client, mine, { limit: 1 });
    const second = await listApiKeys(client, mine, { limit: 1, cursor: first.next ?? "" });
    expect([...ids(first.items), ...ids(second.items)]).toEqual([made[2]?.id, made[0]?.id]);
  });
  await withTenant(control.db, control.tenantId, async (client) => {
    expect(ids((await listApiKeys(client, { includeEnded: true }, {})).items)).not.toContain(made[0]?.id);
    expect(await getApiKey(client, made[0]?.id ?? "")).toBeNull();
    expect(await revokeApiKey(client, made[0]?.id ?? "", "eve")).toBe(false);
  });
});
