import { setTimeout as delay } from "node:timers/promises";
import { type ControlDatabase, listEpochs } from "@rowback/db";
import { z } from "zod";
import { runSql } from "../chaos/sql.ts";
import { lastBefore } from "./compare.ts";
import type { OracleSystem } from "./system.ts";

const CAPTURED_WITHIN_MS = 180_000;

/** Resolves when the change log reaches what the source has written by now. */
export async function untilCaptured(db: ControlDatabase, system: OracleSystem, signal: AbortSignal): Promise<void> {
  const [row] = z
    .array(z.object({ lsn: z.string() }))
    .parse(await runSql(system.source.url, "SELECT pg_current_wal_lsn()::text AS lsn"));
  const end = lastBefore(row?.lsn ?? "0/1");
  const deadline = Date.now() + CAPTURED_WITHIN_MS;
  for (;;) {
    const covered = (await listEpochs(db.system, system.sourceId)).at(-1)?.coveredLsn ?? "";
    if (covered >= end) return;
    if (Date.now() > deadline) throw new Error(`the capture has come to ${covered}, not to ${end}`);
    await delay(200, undefined, { signal });
  }
}
