import { type ControlDatabase, type SystemClient, withSystem } from "@rowback/db";
import { z } from "zod";

const Locked = z.object({ locked: z.boolean() });

// The control database ends transactions that idle for half a minute; this one has to outlive a slow object store.
const KEEP_ALIVE_MS = 10_000;

/**
 * Runs `fn` while no other process runs one of this name, or not at all. The lock goes with its transaction, so a worker
 * that dies leaves none behind. It saves work; what `fn` does must be safe without it.
 * @returns whether `fn` ran
 */
export function withSweepLock(
  db: ControlDatabase,
  name: string,
  fn: (client: SystemClient) => Promise<void>,
): Promise<boolean> {
  return withSystem(db, async (client) => {
    const { rows } = await client.query({
      text: "SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0)) AS locked",
      values: [`rowback:${name}`],
    });
    if (!z.tuple([Locked]).parse(rows)[0].locked) return false;
    const keepAlive = setInterval(() => {
      client.query({ text: "SELECT 1" }).catch(() => undefined);
    }, KEEP_ALIVE_MS);
    try {
      await fn(client);
    } finally {
      clearInterval(keepAlive);
    }
    return true;
  });
}
