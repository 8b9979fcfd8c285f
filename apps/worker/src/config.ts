import { hostname } from "node:os";
import { type BreakerSettings, JobName, LEASE_MS } from "@rowback/jobs";
import type { Compression } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";
import { StoreConfig } from "@rowback/storage";
import { z } from "zod";
import { MasterKeySettings, masterKeySource } from "./master-key-settings.ts";
import type { MasterKeySource } from "./read-master-keys.ts";
import type { RunLimits } from "./run-ledger.ts";

const Port = z.coerce.number().pipe(z.int().min(0).max(65_535));
const AtLeastOne = z.coerce.number().pipe(z.int().min(1));
const HOUR_MS = 3_600_000;

const Timeouts = z.partialRecord(
  JobName,
  z.coerce
    .number()
    .pipe(z.int().min(1))
    .transform((seconds) => seconds * 1_000),
);

function timeoutsOf(text: string, context: z.RefinementCtx): z.infer<typeof Timeouts> {
  const pairs = text.split(",").filter((pair) => pair.trim() !== "");
  const parsed = Timeouts.safeParse(Object.fromEntries(pairs.map((pair) => pair.trim().split("="))));
  if (parsed.success) return parsed.data;
  context.addIssue({
    code: "custom",
    message: `must be like backup=86400,restore=7200 (kinds: ${JobName.options.join(", ")})`,
  });
  return z.NEVER;
}

const Environment = z.object({
  DATABASE_URL: z.string().min(1),
  REDIS_URL: z.string().min(1),
  /** `file:///folder`; left out where the S3_* settings name a bucket. */
  STORE: z.string().startsWith("file:///").optional(),
  S3_BUCKET: z.string().min(1).optional(),
  S3_ENDPOINT: z.url().optional(),
  S3_REGION: z.string().min(1).default("us-east-1"),
  S3_ACCESS_KEY_ID: z.string().min(1).optional(),
  S3_SECRET_ACCESS_KEY: z.string().min(1).optional(),
  /** Base64 of 32 bytes; opens the sealed connection strings of sources. */
  ROWBACK_SECRET_KEY: z
    .base64()
    .transform((text) => Buffer.from(text, "base64"))
    .refine((key) => key.length === 32, "must be the base64 form of 32 bytes"),
  ...MasterKeySettings.shape,
  HOST: z.string().min(1).default("127.0.0.1"),
  /** Of /healthz and /metrics; 0 takes a free port. */
  METRICS_PORT: Port.default(9464),
  QUEUE_PREFIX: z.string().min(1).default("rowback"),
  /** Runs of each queue at once. */
  WORKER_CONCURRENCY: AtLeastOne.default(4),
  /** Runs of each queue that one tenant, and one source, may have running at once, counting every worker. */
  TENANT_CONCURRENCY: AtLeastOne.default(4),
  SOURCE_CONCURRENCY: AtLeastOne.default(16),
  /** So many failures in a row of a source, or of the store, let its runs wait; and how long until it is asked again. */
  BREAKER_FAILURES: AtLeastOne.default(5),
  BREAKER_RESET_MS: AtLeastOne.default(60_000),
  /** Seconds that an attempt may take, for the kinds that need other limits than the catalogue's: `backup=86400,restore=7200`. */
  RUN_TIMEOUTS: z.string().default("").transform(timeoutsOf),
  /** Each of the two sweeps holds one while it works through another. */
  DATABASE_CONNECTIONS: z.coerce.number().pipe(z.int().min(4)).default(8),
  /** How blocks of new backups are compressed. Every backup says how it is: old ones stay readable. */
  BACKUP_COMPRESSION: z.enum(["gzip", "zstd"]).default("gzip"),
  /** The most connections this worker opens to one source. */
  SOURCE_CONNECTIONS: AtLeastOne.default(8),
  SHUTDOWN_GRACE_MS: z.coerce.number().pipe(z.int().nonnegative()).default(20_000),
  /** The same for all workers: one that believes in a longer lease than the others would be taken for dead. */
  RUN_LEASE_MS: z.coerce.number().pipe(z.int().min(2_000)).default(LEASE_MS),
  // A lost job is found within a quarter of a minute, and an idle system is asked three times in it.
  SWEEP_EVERY_MS: AtLeastOne.default(5_000),
  SWEEP_QUEUED_FOR_MS: AtLeastOne.default(10_000),
  GARBAGE_EVERY_MS: AtLeastOne.default(HOUR_MS),
  GARBAGE_GRACE_MS: AtLeastOne.default(HOUR_MS),
  // A part has at most 4 GiB: whoever takes a day over one sends 50 kB a second. Shorter would break a slow upload off, longer is paid for.
  UNFINISHED_GRACE_MS: AtLeastOne.default(24 * HOUR_MS),
  /** How long changes are gathered before they are stored: what a restore to "just now" waits for. */
  CAPTURE_SEGMENT_SECONDS: z.coerce.number().pipe(z.number().positive().max(3_600)).default(10),
  /** WAL that a slot may hold back before the log has an alarm. */
  CAPTURE_ALARM_BYTES: AtLeastOne.default(1_073_741_824),
  LOG_LEVEL: z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]).default("info"),
});

export interface Config {
  readonly workerName: string;
  readonly databaseUrl: string;
  readonly databaseConnections: number;
  readonly redisUrl: string;
  readonly queuePrefix: string;
  readonly store: StoreConfig;
  /** 32 bytes. */
  readonly secretKey: Buffer;
  /** Null: nothing can be encrypted, nor read that is. */
  readonly masterKeys: MasterKeySource | null;
  /** What a source's `env:NAME` stands for. Throws `source_not_configured`. */
  readonly resolveSecret: SecretResolver;
  readonly host: string;
  readonly metricsPort: number;
  readonly concurrency: number;
  readonly limits: RunLimits;
  readonly breakers: BreakerSettings;
  /** Milliseconds, for the kinds that the settings name. */
  readonly timeoutsMs: Readonly<Partial<Record<JobName, number>>>;
  readonly compression: Compression;
  readonly sourceConnections: number;
  readonly graceMs: number;
  /** Milliseconds that a claim holds without a renewal. */
  readonly leaseMs: number;
  readonly logLevel: string;
  readonly sweep: SweepSettings;
  readonly capture: CaptureSettings;
}

/** How changes are captured; times in milliseconds. */
export interface CaptureSettings {
  /** How long a dead worker's capture waits for another; a worker that can't renew for so long stops by itself. */
  readonly leaseMs: number;
  readonly lookEveryMs: number;
  /** When a segment is full: bytes of lines, or milliseconds since its first change. */
  readonly segment: { readonly bytes: number; readonly ms: number };
  /** How often the slot is looked at. */
  readonly observeEveryMs: number;
  /** Bytes of WAL behind a slot that are worth an alarm. */
  readonly alarmBytes: number;
  readonly compactEveryMs: number;
  /** How often the catalogue is looked at for what happens to tables without a message. */
  readonly watchTablesMs: number;
  /** How long a backup that is made from the log waits for it. */
  readonly waitMs: number;
}

const SEGMENT_BYTES = 16 * 1_048_576;

// Another worker is at work within 10 s of a death: 6 of the lease, 1 until somebody looks, the rest to get the slot free.
export const CAPTURE_SETTINGS: CaptureSettings = {
  leaseMs: 6_000,
  lookEveryMs: 1_000,
  segment: { bytes: SEGMENT_BYTES, ms: 10_000 },
  observeEveryMs: 10_000,
  alarmBytes: 1_073_741_824,
  compactEveryMs: 60_000,
  watchTablesMs: 10_000,
  // A segment is due after 10 s, and so is a look at the catalogue; what takes much longer is behind, and the run is tried again.
  waitMs: 120_000,
};

/** How often the sweeper looks, in milliseconds. */
export interface SweepSettings {
  readonly everyMs: number;
  /** How long a row may be queued before its job is looked for: the producer needs a moment between the two. */
  readonly queuedForMs: number;
  readonly garbageEveryMs: number;
  /** Objects younger than this may belong to a run whose row this process has not seen yet. */
  readonly garbageGraceMs: number;
  /** Uploads and temporary files that are older belong to processes that died. */
  readonly unfinishedGraceMs: number;
}

export type SecretResolver = (reference: string) => string;

/** What `npm run keys:…` reads. */
export interface KeysConfig {
  readonly databaseUrl: string;
  readonly masterKeys: MasterKeySource | null;
}

type Variables = Readonly<Record<string, string | undefined>>;

/** Reads what the commands about keys need. Throws as `readConfig` does. */
export function readKeysConfig(environment: Variables = process.env): KeysConfig {
  const env = parsed(z.object({ DATABASE_URL: z.string().min(1), ...MasterKeySettings.shape }), environment);
  return { databaseUrl: env.DATABASE_URL, masterKeys: masterKeySource(env) };
}

function parsed<T>(schema: z.ZodType<T>, environment: Variables): T {
  const result = schema.safeParse(environment);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
  throw new Error(`The environment is not complete:\n  ${problems.join("\n  ")}`);
}

/** Reads the environment, once, at the start. Throws an error that names each wrong variable and shows no value. */
export function readConfig(environment: Variables = process.env): Config {
  const env = parsed(Environment, environment);
  return {
    workerName: `${hostname()}/${process.pid}`,
    databaseUrl: env.DATABASE_URL,
    databaseConnections: env.DATABASE_CONNECTIONS,
    redisUrl: env.REDIS_URL,
    queuePrefix: env.QUEUE_PREFIX,
    store: storeConfig(env),
    secretKey: env.ROWBACK_SECRET_KEY,
    masterKeys: masterKeySource(env),
    resolveSecret: environmentSecrets(environment),
    host: env.HOST,
    metricsPort: env.METRICS_PORT,
    concurrency: env.WORKER_CONCURRENCY,
    limits: { perTenant: env.TENANT_CONCURRENCY, perSource: env.SOURCE_CONCURRENCY },
    breakers: { failures: env.BREAKER_FAILURES, resetMs: env.BREAKER_RESET_MS },
    timeoutsMs: env.RUN_TIMEOUTS,
    compression: env.BACKUP_COMPRESSION,
    sourceConnections: env.SOURCE_CONNECTIONS,
    graceMs: env.SHUTDOWN_GRACE_MS,
    leaseMs: env.RUN_LEASE_MS,
    logLevel: env.LOG_LEVEL,
    capture: {
      ...CAPTURE_SETTINGS,
      segment: { bytes: SEGMENT_BYTES, ms: env.CAPTURE_SEGMENT_SECONDS * 1_000 },
      alarmBytes: env.CAPTURE_ALARM_BYTES,
    },
    sweep: {
      everyMs: env.SWEEP_EVERY_MS,
      queuedForMs: env.SWEEP_QUEUED_FOR_MS,
      garbageEveryMs: env.GARBAGE_EVERY_MS,
      garbageGraceMs: env.GARBAGE_GRACE_MS,
      unfinishedGraceMs: env.UNFINISHED_GRACE_MS,
    },
  };
}

/** Resolves `env:NAME` from this process's environment. Its errors name the setting and never show a value. */
export function environmentSecrets(environment: Readonly<Record<string, string | undefined>>): SecretResolver {
  return (reference) => {
    const name = /^env:([A-Za-z_][A-Za-z0-9_]*)$/.exec(reference)?.[1];
    const value = name === undefined ? undefined : environment[name];
    if (value !== undefined && value !== "") return value;
    throw new RecoveryError("source_not_configured", `The source's connection setting ${reference} is missing here.`, {
      hint: "Set the variable in the environment of every worker, as env:NAME says.",
    });
  };
}

function storeConfig(env: z.infer<typeof Environment>): StoreConfig {
  if (env.S3_BUCKET !== undefined) {
    return StoreConfig.parse({
      driver: "s3",
      bucket: env.S3_BUCKET,
      region: env.S3_REGION,
      endpoint: env.S3_ENDPOINT,
      accessKeyId: env.S3_ACCESS_KEY_ID,
      secretAccessKey: env.S3_SECRET_ACCESS_KEY,
      forcePathStyle: env.S3_ENDPOINT !== undefined,
    });
  }
  if (env.STORE === undefined)
    throw new Error("The environment is not complete: set STORE=file:///folder or S3_BUCKET");
  return StoreConfig.parse({ driver: "filesystem", root: decodeURIComponent(new URL(env.STORE).pathname) });
}
