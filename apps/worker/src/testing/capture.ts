import { insertRun, listEpochs, type Run } from "@rowback/db";
import { JOBS } from "@rowback/jobs";
import type { TestDatabase } from "@rowback/local-services/testing";
import { expect, vi } from "vitest";
import { z } from "zod";
import type { WorkerFixture } from "./worker-fixture.ts";

/** A source that is, or was, captured. */
export interface Captured {
  readonly database: TestDatabase;
  readonly fixture: WorkerFixture;
}

/** Takes the slot from whoever reads it, and drops it. */
export async function dropSlot(database: TestDatabase, slot: string): Promise<void> {
  await vi.waitFor(
    async () => {
      await database.pool.query(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1 AND active",
        [slot],
      );
      await database.pool.query(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1",
        [slot],
      );
    },
    { timeout: 20_000, interval: 100 },
  );
}

/** Asks for the beginning or the end of the capture. */
export async function askCapture(fixture: WorkerFixture, kind: "capture_setup" | "capture_teardown"): Promise<Run> {
  const asked = { kind, tenantId: null, sourceId: fixture.sourceId, requestedBy: "olga" };
  const inserted = await insertRun(fixture.db.system, { ...asked, maxAttempts: JOBS[kind].attempts, params: {} });
  if (inserted.outcome !== "created") throw new Error(inserted.outcome);
  await fixture.enqueue(inserted.run);
  return inserted.run;
}

/** Waits until everything committed by now is in the log. */
export async function caughtUp({ database, fixture }: Captured, timeoutMs = 20_000): Promise<void> {
  const { rows } = await database.pool.query("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::text AS lsn");
  const [{ lsn }] = z.tuple([z.object({ lsn: z.coerce.bigint() })]).parse(rows);
  await vi.waitFor(
    async () => {
      const epoch = (await listEpochs(fixture.db.system, fixture.sourceId)).at(-1);
      expect(BigInt(`0x${epoch?.coveredLsn ?? "0"}`)).toBeGreaterThanOrEqual(lsn);
    },
    { timeout: timeoutMs, interval: 50 },
  );
}
