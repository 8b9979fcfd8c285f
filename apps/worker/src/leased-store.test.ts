import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RunStopped } from "@rowback/jobs";
import { openStore } from "@rowback/storage";
import { expect, onTestFinished, test } from "vitest";
import { withLease } from "./leased-store.ts";

async function leased() {
  const root = await mkdtemp(join(tmpdir(), "rowback-leased-"));
  const store = openStore({ driver: "filesystem", root });
  onTestFinished(async () => {
    await store.close();
    await rm(root, { recursive: true, force: true });
  });
  const lease = new AbortController();
  return { store, mine: withLease(store, lease), lose: () => lease.abort(new RunStopped("lease_lost")), lease };
}

const lost = { name: "RunStopped", why: "lease_lost" };

test("who lost the lease can neither overwrite nor delete what the successor wrote", async () => {
  const { store, mine, lose } = await leased();
  await mine.put("part-0", Buffer.from("first attempt"));
  await store.put("part-0", Buffer.from("successor"));
  lose();
  await expect(mine.put("part-0", Buffer.from("late"))).rejects.toMatchObject(lost);
  await expect(mine.delete(["part-0"])).rejects.toMatchObject(lost);
  expect(await store.head("part-0")).toMatchObject({ bytes: "successor".length });
});

test("a lease that is lost while a part is on its way keeps the part from being published", async () => {
  const { store, mine, lose } = await leased();
  async function* body() {
    yield Buffer.from("half");
    lose();
    yield Buffer.from("of it");
  }
  await expect(mine.put("part-0", body())).rejects.toThrow();
  expect(await store.head("part-0")).toBeNull();
});

test("a cancelled attempt that still holds its lease may clean up after itself", async () => {
  const { store, mine, lease } = await leased();
  await mine.put("part-0", Buffer.from("mine"));
  lease.abort(new RunStopped("cancelled"));
  await mine.delete(["part-0"]);
  expect(await store.head("part-0")).toBeNull();
});
