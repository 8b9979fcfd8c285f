import { openStore } from "@rowback/storage";
import { z } from "zod";
import { BackupWriter } from "../../packages/recovery/src/archive/backup-writer.ts";
import { openIncremental } from "../../packages/recovery/src/backup/from-log/open-incremental.ts";
import { writeRows } from "../../packages/recovery/src/backup/from-log/write-rows.ts";
import { backupId, TENANT_ID, TENANT_KEY } from "../chain-data.ts";
import { serveParent } from "../child-process.ts";
import { peakRssMib, seconds } from "../measure.ts";

/** Opens a chain as a restore does, and writes its rows as a synthetic full backup does. */
const Order = z.object({
  root: z.string(),
  links: z.array(z.object({ backupId: z.uuid(), manifestSha256: z.string().nullable() })),
});
const { signal } = new AbortController();

async function foldChain({ root, links }: z.infer<typeof Order>): Promise<void> {
  const store = openStore({ driver: "filesystem", root });
  const archive = await openIncremental({ store, signal }, { tenantId: TENANT_ID, tenantKey: TENANT_KEY, links });
  const id = { tenantId: TENANT_ID, backupId: backupId(9_999) };
  const backup = new BackupWriter(store, id, { signal, mostBytes: null, key: null });
  const lane = backup.openLane();
  for (const { table } of archive.manifest.tables)
    await writeRows(lane, archive, { table, map: null, onBlock: () => {}, signal });
  await lane.finish();
  await store.close();
}

serveParent(
  Order,
  async (order) => ({ seconds: await seconds(() => foldChain(order)), peakRssMib: await peakRssMib() }),
  async () => undefined,
);
