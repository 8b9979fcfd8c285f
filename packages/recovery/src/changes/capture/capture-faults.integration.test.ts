import { testDatabase, testRole } from "@rowback/local-services/testing";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { MemoryStore } from "../../archive/testing/memory-store.ts";
import type { Source } from "../../postgres/source.ts";
import { CapturedWorld, type WorldOptions } from "./testing/captured-world.ts";

const SHOP = `
CREATE TABLE tenants (id text PRIMARY KEY);
INSERT INTO tenants VALUES ('a'), ('b');
CREATE TABLE orders (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, note text);
ALTER TABLE orders REPLICA IDENTITY FULL`;

async function world(name: string, options: Partial<WorldOptions> = {}): Promise<CapturedWorld> {
  const made = await CapturedWorld.make(await testDatabase(name), {
    schema: SHOP,
    tables: "tenants, orders",
    ...options,
  });
  onTestFinished(() => made.end());
  return made;
}

/** Takes an object only when it is let. */
class HangingStore extends MemoryStore {
  #held: PromiseWithResolvers<void> | null = null;

  hang(): void {
    this.#held = Promise.withResolvers();
  }

  letGo(): void {
    this.#held?.resolve();
    this.#held = null;
  }

  override async put(...args: Parameters<MemoryStore["put"]>): ReturnType<MemoryStore["put"]> {
    await this.#held?.promise;
    return super.put(...args);
  }
}

const Slot = z.tuple([
  z.object({
    pid: z.int().nullable(),
    /** In hexadecimal digits. */
    confirmed: z.string(),
  }),
]);

async function slotOf(shop: CapturedWorld): Promise<z.infer<typeof Slot>[0]> {
  const { rows } = await shop.query(
    `SELECT s.active_pid AS pid, lpad(to_hex((s.confirmed_flush_lsn - '0/0')::bigint), 16, '0') AS confirmed
     FROM pg_replication_slots s WHERE s.slot_name = '${shop.slotName}'`,
  );
  return Slot.parse(rows)[0];
}

test("a store that hangs for longer than wal_sender_timeout ends nothing, and nothing is acknowledged that is not stored", {
  timeout: 60_000,
}, async () => {
  const store = new HangingStore();
  onTestFinished(() => store.letGo());
  const shop = await world("capture hanging", { store, limits: { bytes: 100_000, ms: 20 } });
  await shop.sql(
    `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET wal_sender_timeout = ''4s''', current_database()); END $$`,
  );
  shop.start();
  await shop.sql("INSERT INTO orders VALUES (0, 'a', 'x')");
  await shop.caughtUp();
  store.hang();
  const { pid } = await slotOf(shop);
  // More than waits in memory: the socket fills, and the server's own questions are not heard any more.
  await shop.sql("INSERT INTO orders SELECT n, 'a', repeat('n', 1000) FROM generate_series(1, 40000) AS n");
  const hangsSince = Date.now();
  const confirmed: string[] = [];
  while (Date.now() - hangsSince < 10_000) {
    const slot = await slotOf(shop);
    expect(slot.pid).toBe(pid);
    confirmed.push(slot.confirmed);
    expect(shop.problems).toEqual([]);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
  store.letGo();
  await shop.caughtUp();
  expect((await slotOf(shop)).pid).toBe(pid);
  const lines = await shop.lines();
  expect(lines.map(({ seq }) => seq)).toEqual([0, ...Array.from({ length: 40_000 }, (_, n) => n)]);
  const committed = lines.at(-1)?.lsn ?? "";
  // The place of the commit itself may be: all below it is stored.
  expect(confirmed.filter((lsn) => lsn > committed)).toEqual([]);
  await expect.poll(async () => (await slotOf(shop)).confirmed > committed, { timeout: 10_000 }).toBe(true);
});

test("a role with REPLICATION that owns the tables, and nothing more, is enough to set up and to capture", async () => {
  const database = await testDatabase("capture role");
  const { name, url } = await testRole(database, "REPLICATION");
  await database.pool.query(SHOP);
  await database.pool.query(
    `ALTER TABLE tenants OWNER TO ${name}; ALTER TABLE orders OWNER TO ${name}; GRANT CREATE ON DATABASE "${database.name}" TO ${name}`,
  );
  const shop = await CapturedWorld.make(database, { schema: "SELECT", tables: "", url });
  onTestFinished(() => shop.end());
  shop.start();
  await shop.sql("INSERT INTO orders VALUES (1, 'a', 'x')");
  await shop.sql("ALTER TABLE orders ADD price numeric DEFAULT 1");
  await shop.sql("UPDATE orders SET note = 'y'");
  await shop.caughtUp();
  expect(await shop.story()).toEqual([
    "a orders I 1|a|x",
    expect.stringMatching(/^\* orders A /),
    "a orders O 1|a|x|1",
    "a orders U 1|a|y|1",
  ]);
});

test("what a savepoint took back is not in the log, and what it kept is in its place", async () => {
  const shop = await world("capture savepoints");
  shop.start();
  await shop.sql(`BEGIN; INSERT INTO orders VALUES (1, 'a', 'kept');
    SAVEPOINT one; INSERT INTO orders VALUES (2, 'a', 'taken back'); SAVEPOINT two; UPDATE orders SET note = 'too'; ROLLBACK TO one;
    INSERT INTO orders VALUES (2, 'b', 'kept'); RELEASE one; COMMIT;
    BEGIN; INSERT INTO orders VALUES (3, 'a', 'taken back'); ROLLBACK`);
  await shop.caughtUp();
  expect(await shop.story()).toEqual(["a orders I 1|a|kept", "b orders I 2|b|kept"]);
});

test("transaction ids are those of 64 bits, as snapshots have them, of a server that has used up its 32 bits", async () => {
  const rounds = 3n * 2n ** 32n;
  /** A server looks like an old one to whoever asks it for its next id. */
  const around = (source: Source): Source =>
    new Proxy(source, {
      get: (target, name) => {
        if (name !== "connect") {
          const value: unknown = Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        }
        const connect: Source["connect"] = async (work, options) => {
          const result = await target.connect(work, options);
          return typeof result === "bigint" ? Object(result + rounds).valueOf() : result;
        };
        return connect;
      },
    });
  const shop = await world("capture old", { around });
  shop.start();
  await shop.sql("INSERT INTO orders VALUES (1, 'a', 'x')");
  await shop.caughtUp();
  const { rows } = await shop.query("SELECT xmin::text AS xid FROM orders");
  const [{ xid }] = z.tuple([z.object({ xid: z.coerce.bigint() })]).parse(rows);
  expect((await shop.lines()).map((line) => BigInt(line.xid))).toEqual([xid + rounds]);
});

test("objects that were stored and never recorded are deleted, also when what they hold is cut another way next time", async () => {
  const shop = await world("capture leftovers", { limits: { bytes: 16 * 1_048_576, ms: 300 } });
  shop.start({ publish: () => Promise.reject(new Error("killed between storing and recording")) });
  await shop.sql("INSERT INTO orders VALUES (1, 'a', 'x')");
  await expect.poll(() => shop.problems.length, { timeout: 10_000 }).toBe(1);
  await shop.stop();
  shop.problems.length = 0;
  await shop.sql("INSERT INTO orders VALUES (2, 'a', 'y')");
  shop.start();
  await shop.caughtUp();
  expect(await shop.story()).toEqual(["a orders I 1|a|x", "a orders I 2|a|y"]);
  const stored: string[] = [];
  for await (const { key } of shop.store.list("")) stored.push(key);
  expect(stored).toEqual(shop.segments.map(({ key }) => key));
});

test("a gap is recorded before the lines that it speaks of: nobody reads them and takes them for whole", async () => {
  const shop = await world("capture gap first", {
    schema: `${SHOP}; CREATE TABLE lines (id int PRIMARY KEY, order_id int NOT NULL REFERENCES orders); ALTER TABLE lines REPLICA IDENTITY FULL`,
    tables: "tenants, orders, lines",
  });
  const events: string[] = [];
  shop.start({
    declare: async (gaps) => {
      events.push(...gaps.map(({ reason }) => reason));
    },
    publish: async (segments, covered) => {
      events.push(...segments.map(() => "segment"));
      shop.segments.push(...segments);
      shop.covered = covered;
    },
  });
  await shop.sql("BEGIN; INSERT INTO orders VALUES (1, 'a', 'x'); UPDATE orders SET tenant_id = 'b'; COMMIT");
  await shop.caughtUp();
  expect(events).toEqual(["tenant_moved", "tenant_moved", "segment"]);
});
