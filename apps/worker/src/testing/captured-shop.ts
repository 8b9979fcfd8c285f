import { insertBackupRun, listChain, type Run } from "@rowback/db";
import { JOBS } from "@rowback/jobs";
import { captureNames } from "@rowback/recovery";
import { onTestFinished } from "vitest";
import { environmentSecrets } from "../config.ts";
import type { WorkerOptions } from "../worker.ts";
import { askCapture, caughtUp, dropSlot } from "./capture.ts";
import { type Shop, shop } from "./shop.ts";

/** A shop whose changes are captured, with a worker at work. */
export interface CapturedShop extends Shop {
  sql(text: string): Promise<void>;
  /** Waits until everything committed by now is in the log. */
  caughtUp(): Promise<void>;
  /** Asks for a backup from the log; the queued run. */
  askFromLog(type: "incremental" | "synthetic_full", parentBackupId: string, maxAttempts?: number): Promise<Run>;
  /** The same, and waits for its success; its id. */
  fromLog(type: "incremental" | "synthetic_full", parentBackupId: string): Promise<string>;
}

export interface CapturedShopOptions {
  /** How long a backup waits for the log; a minute unless told. */
  readonly waitMs?: number;
  /** How often the capture looks at the catalogue; 200 ms unless told. */
  readonly watchTablesMs?: number;
  /** Connection strings of other sources, by the name in `env:…`. */
  readonly otherSources?: Readonly<Record<string, string>>;
  readonly worker?: WorkerOptions;
}

export async function capturedShop(
  name: string,
  { waitMs = 60_000, watchTablesMs = 200, otherSources = {}, worker = {} }: CapturedShopOptions = {},
): Promise<CapturedShop> {
  const at = await shop(name);
  const database = at.source;
  // After the worker has ended: it is closed with the fixture, which was made first.
  onTestFinished(() => dropSlot(database, captureNames(at.sourceId).slotName));
  await at.start(worker, {
    capture: { ...at.config.capture, waitMs, watchTablesMs },
    resolveSecret: environmentSecrets({ SOURCE_URL: database.url, ...otherSources }),
  });
  await at.until((await askCapture(at, "capture_setup")).id, "succeeded");
  const askFromLog: CapturedShop["askFromLog"] = async (type, parentBackupId, maxAttempts = JOBS.backup.attempts) => {
    const [base] = await listChain(at.db.system, parentBackupId);
    const { tenantId, sourceId } = at;
    const common = { purpose: "manual", tables: null, madeFrom: "log" } as const;
    const inserted = await insertBackupRun(
      at.db.system,
      {
        tenantId,
        sourceId,
        maxAttempts,
        requestedBy: "user-1",
        params: { tables: null, purpose: "manual", type, parentBackupId },
      },
      type === "incremental"
        ? { ...common, type, parent: { parentBackupId, baseBackupId: base?.id ?? parentBackupId } }
        : { ...common, type: "full" },
    );
    if (inserted.outcome !== "created") throw new Error(inserted.outcome);
    await at.enqueue(inserted.run);
    return inserted.run;
  };
  return {
    ...at,
    sql: async (text) => void (await database.pool.query(text)),
    caughtUp: () => caughtUp({ database, fixture: at }),
    askFromLog,
    fromLog: async (type, parentBackupId) => {
      const { id } = await askFromLog(type, parentBackupId);
      await at.until(id, "succeeded", 60_000);
      return id;
    },
  };
}
