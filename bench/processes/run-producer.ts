import { insertBackupRun, openControlDatabase, withTenant } from "@rowback/db";
import { createProducer, JOBS } from "@rowback/jobs";
import { z } from "zod";
import { serveParent } from "../child-process.ts";

/**
 * Asks for backups as the API does: the row in a transaction of the tenant's, then the job. Each order is one list of tenants,
 * a backup for each, `inFlight` requests at a time.
 */
const env = z.object({ DATABASE_URL: z.string(), REDIS_URL: z.string() }).parse(process.env);
const Order = z.object({ sourceId: z.uuid(), tenantIds: z.array(z.uuid()), inFlight: z.int() });

const db = openControlDatabase({
  url: env.DATABASE_URL,
  maxConnections: 10,
  applicationName: "rowback bench producer",
});
const producer = createProducer({ redisUrl: env.REDIS_URL, prefix: "rowback" });

serveParent(
  Order,
  async ({ sourceId, tenantIds, inFlight }) => {
    const waiting = [...tenantIds];
    const request = async (): Promise<void> => {
      for (let tenantId = waiting.shift(); tenantId !== undefined; tenantId = waiting.shift()) {
        await backUp(sourceId, tenantId);
      }
    };
    await Promise.all(Array.from({ length: inFlight }, request));
  },
  async () => {
    await producer.close();
    await db.close();
  },
);

async function backUp(sourceId: string, tenantId: string): Promise<void> {
  const inserted = await withTenant(db, tenantId, (client) =>
    insertBackupRun(
      client,
      {
        tenantId,
        sourceId,
        maxAttempts: JOBS.backup.attempts,
        requestedBy: "bench",
        params: { tables: null, purpose: "manual" },
      },
      { type: "full", purpose: "manual", tables: null },
    ),
  );
  if (inserted.outcome !== "created") throw new Error(`the run was not created: ${inserted.outcome}`);
  await producer.enqueue("backup", { runId: inserted.run.id });
}
