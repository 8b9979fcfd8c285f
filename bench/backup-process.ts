import { randomUUID } from "node:crypto";
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { run, WORKER_FLAGS } from "./measure.ts";

const BackupFigures = z.object({
  seconds: z.number(),
  /** Reading it all again, decompressed and checked; next to nothing where that was not asked for. */
  verifySeconds: z.number(),
  peakRssMib: z.number(),
  rowCount: z.number(),
  rawBytes: z.number(),
  storedBytes: z.number(),
});
export type BackupFigures = z.infer<typeof BackupFigures>;

export interface BackupOrder {
  readonly url: string;
  readonly connections: number;
  readonly verify?: boolean;
  readonly encrypt?: boolean;
  readonly compression?: "gzip" | "zstd";
}

/** One backup of the bench's tenant in a process of its own, into a folder below this one that is gone afterwards. */
export async function backUpInProcess(folder: string, order: BackupOrder): Promise<BackupFigures> {
  const root = join(folder, randomUUID());
  const child = new URL("./backup-child.ts", import.meta.url).pathname;
  try {
    const input = JSON.stringify({ verify: false, encrypt: false, compression: "gzip", ...order, root });
    const printed = await run(process.execPath, [...WORKER_FLAGS, child], { input });
    return BackupFigures.parse(JSON.parse(printed.trim().split("\n").at(-1) ?? ""));
  } finally {
    await rm(root, { recursive: true, force: true });
  }
}
