import { createHmac, randomBytes, randomUUID } from "node:crypto";
import {
  addOperator,
  type BackupOutcomeRow,
  type ControlDatabase,
  claimRun,
  failRun,
  insertSource,
  insertTenant,
  type MemberRole,
  migrate,
  openControlDatabase,
  replaceProtectedTables,
  setMember,
  succeedBackupRun,
  succeedRestoreRun,
} from "@rowback/db";
import { connectLimiter, createProducer, openQueues } from "@rowback/jobs";
import { testDatabase, testFolder, testRedis } from "@rowback/local-services/testing";
import { openStore } from "@rowback/storage";
import type { FastifyInstance, LightMyRequestResponse } from "fastify";
import { pino } from "pino";
import { z } from "zod";
import { buildApp } from "../app.ts";
import type { TokenSettings } from "../auth/token-settings.ts";
import type { ApiDependencies } from "../context.ts";
import { createRateLimits } from "../rate-limits.ts";

interface TestCall {
  readonly user?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

export interface TestTenant {
  readonly id: string;
  readonly sourceId: string;
  readonly owner: string;
}

/** The API on real services, with an operator called `olga`. Everything ends with the test file. */
export interface TestApi {
  readonly app: FastifyInstance;
  readonly db: ControlDatabase;
  readonly deps: ApiDependencies;
  token(userId: string, claims?: Record<string, unknown>): string;
  call(
    method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE",
    path: string,
    call?: TestCall,
  ): Promise<LightMyRequestResponse>;
  /** A source with discovered tables (public.orders, public.items, "public"."Odd name", billing.items; log is unprotected, country shared). */
  source(): Promise<string>;
  tenant(options?: { sourceId?: string; owner?: string }): Promise<TestTenant>;
  member(tenantId: string, userId: string, role: MemberRole): Promise<void>;
  operator(userId: string): Promise<void>;
  close(): Promise<void>;
}

export async function startTestApi(
  change: (deps: ApiDependencies) => ApiDependencies = (deps) => deps,
): Promise<TestApi> {
  const database = await testDatabase("api");
  await migrate(database.url);
  const db = openControlDatabase({ url: database.url, maxConnections: 8, applicationName: "rowback-api-test" });
  const redis = testRedis();
  const location = { redisUrl: redis.url, prefix: redis.prefix };
  const limiterRedis = connectLimiter(redis.url, () => {});
  const store = openStore({ driver: "filesystem", root: testFolder() });
  const deps: ApiDependencies = change({
    db,
    producer: createProducer(location),
    queues: openQueues(location),
    limits: createRateLimits(limiterRedis, redis.prefix, {
      readsPerMinute: 1_000_000,
      writesPerMinute: 1_000_000,
      failuresPerMinute: 1_000_000,
    }),
    store,
    log: pino({ level: "silent" }),
    settings: {
      tokens: {
        kind: "secret",
        secret: randomBytes(32).toString("hex"),
        issuer: null,
        audience: [],
        clockToleranceSeconds: 0,
      },
      secretKey: randomBytes(32),
      encryptSources: false,
      corsOrigins: ["https://console.example.com"],
      bodyLimitBytes: 64 * 1024,
      requestTimeoutMs: 15_000,
      idleTimeoutMs: 90_000,
    },
  });
  const app = await buildApp(deps);
  await app.ready();
  await addOperator(db.system, "olga");

  const token = (userId: string, claims: Record<string, unknown> = {}): string =>
    signedToken(deps.settings.tokens, { sub: userId, exp: Math.floor(Date.now() / 1000) + 3600, ...claims });

  const source = async (): Promise<string> => {
    const inserted = await insertSource(db.system, {
      name: `source ${randomUUID()}`,
      connection: { kind: "reference", reference: "env:NOWHERE" },
      tenancy: { mode: "column", column: "tenant_id" },
    });
    if (inserted === null) throw new Error("the source's name was taken");
    await replaceProtectedTables(db.system, inserted.id, TABLES);
    return inserted.id;
  };

  return {
    app,
    db,
    deps,
    token,
    source,
    call: (method, path, { user, headers, body } = {}) =>
      app.inject({
        method,
        url: path,
        headers: {
          ...(user === undefined ? {} : { authorization: `Bearer ${token(user)}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { payload: JSON.stringify(body) }),
      }),
    tenant: async (options = {}) => {
      const sourceId = options.sourceId ?? (await source());
      const owner = options.owner ?? `owner-${randomUUID()}`;
      const inserted = await insertTenant(db.system, { sourceId, key: randomUUID(), name: `tenant of ${owner}` });
      if (inserted === null) throw new Error("the tenant's key was taken");
      await setMember(db.system, { userId: owner, tenantId: inserted.id, role: "owner" });
      return { id: inserted.id, sourceId, owner };
    },
    operator: (userId) => addOperator(db.system, userId),
    member: (tenantId, userId, role) => setMember(db.system, { tenantId, userId, role }),
    close: async () => {
      await app.close();
      await Promise.allSettled([deps.producer.close(), deps.queues.close(), store.close(), db.close()]);
      limiterRedis.disconnect();
    },
  };
}

const TABLES = [
  { schemaName: "public", tableName: "orders", scope: { kind: "direct", column: "tenant_id" } },
  { schemaName: "public", tableName: "items", scope: { kind: "direct", column: "tenant_id" } },
  { schemaName: "billing", tableName: "items", scope: { kind: "direct", column: "tenant_id" } },
  { schemaName: "public", tableName: 'Odd "name"; --', scope: { kind: "direct", column: "tenant_id" } },
  { schemaName: "public", tableName: "country", scope: { kind: "shared" } },
  {
    schemaName: "public",
    tableName: "log",
    scope: null,
    unprotectedReason: { code: "ambiguous_path", message: "two paths lead to a tenant" },
  },
] as const;

/** An HS256 token (RFC 7515 §A.1), made without the library that checks it. */
export function signedToken(settings: TokenSettings, claims: object, header: object = {}, hash = "sha256"): string {
  if (settings.kind !== "secret") throw new Error("only the issuer can sign these tokens");
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: "HS256", typ: "JWT", ...header })}.${part(claims)}`;
  return `${text}.${createHmac(hash, settings.secret).update(text).digest("base64url")}`;
}

const RunBody = z.looseObject({ id: z.uuid(), status: z.string(), kind: z.string() });

/** The run of an answer. */
export function runOf(response: LightMyRequestResponse): z.infer<typeof RunBody> {
  return RunBody.parse(response.json());
}

/** What a worker does between taking a run and its end. */
async function claimed(db: ControlDatabase, runId: string): Promise<{ runId: string; attemptToken: string }> {
  const run = await claimRun(db.system, { runId, worker: "test", leaseMs: 60_000 });
  if (run === null) throw new Error(`run ${runId} could not be claimed`);
  return { runId, attemptToken: run.attemptToken };
}

/** Ends a backup well, as a worker would. */
export async function finishBackup(
  db: ControlDatabase,
  backupId: string,
  snapshot: Partial<BackupOutcomeRow["snapshot"]> = {},
): Promise<void> {
  const fingerprint = { rows: 2, sum: "0123456789abcdef" };
  const outcome: BackupOutcomeRow = {
    rowCount: 2,
    rawBytes: 20,
    storedBytes: 10,
    objectCount: 2,
    manifestSha256: "0".repeat(64),
    snapshot: { lsn: "0/1", at: new Date(), pgSnapshot: "10:10:", endLsn: "00000000016b3750", ...snapshot },
    serverVersion: "18.0",
    tables: ["public.orders", "public.items"].map((table) => ({ table, rows: 1, rawBytes: 10, fingerprint })),
  };
  if (!(await succeedBackupRun(db.system, await claimed(db, backupId), outcome, null)))
    throw new Error("the lease was lost");
}

/** Ends a preview or a restore well. */
export async function finishRestore(db: ControlDatabase, runId: string, planDigest: string): Promise<void> {
  const outcome = { result: { digest: planDigest }, planDigest, changes: [], fingerprintsAfter: null };
  if (!(await succeedRestoreRun(db.system, await claimed(db, runId), outcome))) throw new Error("the lease was lost");
}

/** Ends a run badly. */
export async function breakRun(db: ControlDatabase, runId: string, code: string): Promise<void> {
  const error = { code, message: "it broke", hint: "mend it", retryable: false };
  if (!(await failRun(db.system, await claimed(db, runId), error))) throw new Error("the lease was lost");
}
