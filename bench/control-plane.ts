import { randomBytes } from "node:crypto";
import { insertSource, insertTenant, migrate, openControlDatabase, type Source } from "@rowback/db";
import { startPostgres, startRedis } from "@rowback/local-services";
import pg from "pg";
import { z } from "zod";

/** Rowback's own database and Redis, as they must be set up for real: both durable. One source, and its tenants. */
export interface ControlPlane {
  readonly databaseUrl: string;
  readonly redisUrl: string;
  readonly sourceId: string;
  /** In the order of the keys. */
  readonly tenantIds: readonly string[];
  /** The settings of a worker's or a producer's process. */
  readonly env: Readonly<Record<string, string>>;
  /** Resolves when no run is queued or running; throws if one did not succeed. */
  untilAllSucceeded(): Promise<void>;
  stop(): Promise<void>;
}

/** Of a source that says `env:SOURCE_URL`. Asked so often, waiting costs the database less than a hundredth of a core. */
const POLL_MS = 10;

/** Starts PostgreSQL 18 with fsync and Redis with its append-only file, and registers a source with these tenants. */
export async function startControlPlane(options: {
  readonly tenantKeys: readonly string[];
  readonly store: string;
  readonly sourceUrl: string;
}): Promise<ControlPlane> {
  const postgres = await startPostgres({
    distribution: "embedded",
    settings: { fsync: "on", synchronous_commit: "on" },
  });
  const redis = await startRedis({ appendOnly: true });
  await migrate(postgres.url);
  const { sourceId, tenantIds } = await register(postgres.url, options.tenantKeys);
  const watcher = new pg.Client({ connectionString: postgres.url });
  await watcher.connect();
  return {
    databaseUrl: postgres.url,
    redisUrl: redis.url,
    sourceId,
    tenantIds,
    env: {
      DATABASE_URL: postgres.url,
      REDIS_URL: redis.url,
      STORE: `file://${options.store}`,
      SOURCE_URL: options.sourceUrl,
      ROWBACK_SECRET_KEY: randomBytes(32).toString("base64"),
      METRICS_PORT: "0",
      LOG_LEVEL: "warn",
    },
    untilAllSucceeded: () => untilAllSucceeded(watcher),
    stop: async () => {
      await watcher.end();
      await redis.stop();
      await postgres.stop();
    },
  };
}

async function register(
  url: string,
  tenantKeys: readonly string[],
): Promise<{ sourceId: string; tenantIds: readonly string[] }> {
  const db = openControlDatabase({ url, maxConnections: 4, applicationName: "rowback bench" });
  try {
    const tenancy = { mode: "column", column: "tenant_id" };
    const connection = { kind: "reference", reference: "env:SOURCE_URL" } as const;
    const source: Source | null = await insertSource(db.system, { name: "bench", connection, tenancy });
    if (source === null) throw new Error("the source could not be registered");
    const tenants = await Promise.all(
      tenantKeys.map((key) => insertTenant(db.system, { sourceId: source.id, key, name: `Tenant ${key}` })),
    );
    return { sourceId: source.id, tenantIds: tenants.flatMap((tenant) => tenant?.id ?? []) };
  } finally {
    await db.close();
  }
}

async function untilAllSucceeded(watcher: pg.Client): Promise<void> {
  const live = { name: "live", text: "SELECT EXISTS (SELECT FROM runs WHERE status IN ('queued', 'running')) AS live" };
  for (;;) {
    const { rows } = await watcher.query(live);
    if (!z.object({ live: z.boolean() }).parse(rows[0]).live) break;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  const { rows } = await watcher.query("SELECT error FROM runs WHERE status <> 'succeeded' LIMIT 1");
  if (rows.length > 0) throw new Error(`a run did not succeed: ${JSON.stringify(rows[0])}`);
}
