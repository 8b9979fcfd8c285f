import { getRun, type Queryable, type Run, requestCancel } from "@rowback/db";
import { RestorePreviewParams, RestoreResult } from "@rowback/jobs";
import { RecoveryError } from "@rowback/recovery/errors";
import { expect, test } from "vitest";
import { ControlDatabaseError } from "../control.ts";
import { createHandlers } from "../handlers.ts";
import { type Shop, shop } from "../testing/shop.ts";
import type { WorkerOptions } from "../worker.ts";

const ACCIDENT = "DELETE FROM orders WHERE id % 3 = 0; UPDATE customers SET name = 'oops' WHERE id < 50";

/** A worker that dies once, right after a restore's commit: its process knows nothing more, the source everything. */
function dyingOnce(before: (run: { id: string }) => Promise<void> = async () => {}): WorkerOptions {
  let died = false;
  return {
    handlers: (worker) => {
      const handlers = createHandlers(worker);
      return {
        ...handlers,
        restore: async (task) => {
          const outcome = await handlers.restore(task);
          if (died) return outcome;
          died = true;
          await before(task.run);
          throw new RecoveryError("source_unreachable", "The answer to COMMIT was lost.");
        },
      };
    },
  };
}

interface Damaged {
  readonly fixture: Shop;
  readonly good: string;
  readonly bad: string;
  readonly preview: Run;
}

async function damaged(name: string, options: WorkerOptions | ((fixture: Shop) => WorkerOptions)): Promise<Damaged> {
  const fixture = await shop(name);
  await fixture.start(typeof options === "function" ? options(fixture) : options);
  const good = await fixture.rows("acme");
  const { id } = await fixture.backup();
  await fixture.source.pool.query(ACCIDENT);
  return { fixture, good, bad: await fixture.rows("acme"), preview: await fixture.preview(id) };
}

async function preRestoreBackups({ db, tenantId }: Shop): Promise<number> {
  const { rowCount } = await db.system.query({
    text: "SELECT FROM backup_jobs WHERE tenant_id = $1 AND purpose = 'pre_restore'",
    values: [tenantId],
  });
  return rowCount ?? 0;
}

test("a restore that was committed succeeds, although its worker died before it could say so, and is undone as ever", async () => {
  const { fixture, good, bad, preview } = await damaged("committed", dyingOnce());
  const restore = await fixture.apply(preview);
  const ended = await fixture.until(restore.id, "succeeded");
  expect(ended).toMatchObject({ attempt: 2, error: null });
  expect(RestoreResult.parse(ended.result)).toMatchObject({ planDigest: expect.any(String), undoOf: null });
  expect(await fixture.rows("acme")).toBe(good);
  expect(await preRestoreBackups(fixture)).toBe(1);
  await fixture.until((await fixture.undo(restore.id)).id, "succeeded");
  expect(await fixture.rows("acme")).toBe(bad);
});

test("so it does when that was its last attempt", async () => {
  const { fixture, good, preview } = await damaged("last", dyingOnce());
  const restore = await fixture.apply(preview, { maxAttempts: 1 });
  await fixture.until(restore.id, "succeeded");
  expect(await fixture.rows("acme")).toBe(good);
});

test("a cancellation that comes behind the commit comes too late", async () => {
  const { fixture, good, preview } = await damaged("late", (shop) =>
    dyingOnce(async ({ id }) => void (await requestCancel(shop.db.system, id))),
  );
  const restore = await fixture.apply(preview);
  await fixture.until(restore.id, "succeeded");
  expect(await fixture.rows("acme")).toBe(good);
});

test("a commit that the source refuses is a failed run, with nothing changed and nothing left to settle", async () => {
  const { fixture, bad, preview } = await damaged("refused", {});
  await fixture.source.pool.query(`
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not today' USING ERRCODE = '23514'; END $$;
    CREATE CONSTRAINT TRIGGER refuse AFTER UPDATE ON customers DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
    ALTER TABLE customers ENABLE ALWAYS TRIGGER refuse;`);
  const { backupId } = RestorePreviewParams.parse(preview.params);
  const again = await fixture.preview(backupId);
  const restore = await fixture.apply(again);
  await fixture.until(restore.id, "failed");
  expect(await fixture.rows("acme")).toBe(bad);
  const { rows } = await fixture.db.system.query({
    text: "SELECT commit_intent FROM runs WHERE id = $1",
    values: [restore.id],
  });
  expect(rows).toEqual([{ commit_intent: null }]);
  expect(await getRun(fixture.db.system, restore.id)).toMatchObject({ attempt: 1 });
});

test("a control database that is away right before the commit costs an attempt, not the restore", async () => {
  let away = true;
  const { fixture, good, preview } = await damaged("intent-away", {
    handlers: (worker) => {
      const query: Queryable["query"] = async (statement) => {
        if (away && statement.text.includes("SET commit_intent")) {
          away = false;
          throw new ControlDatabaseError(new Error("Connection terminated unexpectedly"));
        }
        return await worker.control.query(statement);
      };
      return createHandlers({ ...worker, control: { query } });
    },
  });
  const restore = await fixture.apply(preview);
  expect(await fixture.until(restore.id, "succeeded")).toMatchObject({ attempt: 2 });
  expect(away).toBe(false);
  expect(await fixture.rows("acme")).toBe(good);
});
