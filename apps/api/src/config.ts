import { StoreConfig } from "@rowback/storage";
import { z } from "zod";
import { TokenEnvironment, type TokenSettings } from "./auth/token-settings.ts";
import type { RateLimitSettings } from "./rate-limits.ts";

const Port = z.coerce.number().pipe(z.int().min(0).max(65_535));
const Bytes = z.coerce.number().pipe(z.int().min(1024));
const Milliseconds = z.coerce.number().pipe(z.int().min(1));
const List = z.string().transform((text) =>
  text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== ""),
);

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
  /** Base64 of 32 bytes; seals the connection strings of sources. */
  ROWBACK_SECRET_KEY: z
    .base64()
    .transform((text) => Buffer.from(text, "base64"))
    .refine((key) => key.length === 32, "must be the base64 form of 32 bytes"),
  /** Whether a new source is encrypted unless its registration says otherwise. */
  ENCRYPT_SOURCES: z.stringbool().default(false),
  HOST: z.string().min(1).default("127.0.0.1"),
  PORT: Port.default(3000),
  QUEUE_PREFIX: z.string().min(1).default("rowback"),
  LOG_LEVEL: z.enum(["fatal", "error", "warn", "info", "debug", "trace", "silent"]).default("info"),
  /** Origins whose pages may call the API, comma-separated. */
  CORS_ORIGINS: List.default([]),
  /** Addresses or networks (CIDR) of the proxies in front, comma-separated; only they are believed about a client's address. */
  TRUSTED_PROXIES: List.default([]),
  /** Requests of one user, for one tenant, on one route, in a minute. */
  RATE_LIMIT_READS: z.coerce.number().pipe(z.int().min(1)).default(1_200),
  RATE_LIMIT_WRITES: z.coerce.number().pipe(z.int().min(1)).default(120),
  /** Requests from one address, in a minute, that brought no valid token or key. */
  RATE_LIMIT_FAILURES: z.coerce.number().pipe(z.int().min(1)).default(60),
  DATABASE_CONNECTIONS: z.coerce.number().pipe(z.int().min(1)).default(10),
  BODY_LIMIT_BYTES: Bytes.default(1024 * 1024),
  REQUEST_TIMEOUT_MS: Milliseconds.default(15_000),
  /** Longer than the longest `Prefer: wait` (60 s) and the heartbeat of an event stream (15 s). */
  IDLE_TIMEOUT_MS: Milliseconds.default(90_000),
});

export interface Config {
  readonly databaseUrl: string;
  readonly databaseConnections: number;
  readonly redisUrl: string;
  readonly queuePrefix: string;
  readonly store: StoreConfig;
  readonly host: string;
  readonly port: number;
  readonly logLevel: string;
  readonly trustedProxies: readonly string[];
  readonly rateLimits: RateLimitSettings;
  readonly settings: ApiSettings;
}

/** What the app itself needs to know. */
export interface ApiSettings {
  readonly tokens: TokenSettings;
  /** 32 bytes. */
  readonly secretKey: Buffer;
  /** Whether a new source is encrypted unless its registration says otherwise. */
  readonly encryptSources: boolean;
  readonly corsOrigins: readonly string[];
  readonly bodyLimitBytes: number;
  /** How long one request may take; a `Prefer: wait` adds to it. */
  readonly requestTimeoutMs: number;
  /** How long a socket may move no byte, in either direction. */
  readonly idleTimeoutMs: number;
}

/** Reads the environment, once, at the start. Throws an error that names each wrong variable and shows no value. */
export function readConfig(environment: Readonly<Record<string, string | undefined>> = process.env): Config {
  const parsed = Environment.safeParse(environment);
  const tokens = TokenEnvironment.safeParse(environment);
  if (!parsed.success || !tokens.success) {
    const issues = [...(parsed.error?.issues ?? []), ...(tokens.error?.issues ?? [])];
    const problems = issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`);
    throw new Error(`The environment is not complete:\n  ${problems.join("\n  ")}`);
  }
  const env = parsed.data;
  return {
    databaseUrl: env.DATABASE_URL,
    databaseConnections: env.DATABASE_CONNECTIONS,
    redisUrl: env.REDIS_URL,
    queuePrefix: env.QUEUE_PREFIX,
    store: storeConfig(env),
    host: env.HOST,
    port: env.PORT,
    logLevel: env.LOG_LEVEL,
    trustedProxies: env.TRUSTED_PROXIES,
    rateLimits: {
      readsPerMinute: env.RATE_LIMIT_READS,
      writesPerMinute: env.RATE_LIMIT_WRITES,
      failuresPerMinute: env.RATE_LIMIT_FAILURES,
    },
    settings: {
      tokens: tokens.data,
      secretKey: env.ROWBACK_SECRET_KEY,
      encryptSources: env.ENCRYPT_SOURCES,
      corsOrigins: env.CORS_ORIGINS,
      bodyLimitBytes: env.BODY_LIMIT_BYTES,
      requestTimeoutMs: env.REQUEST_TIMEOUT_MS,
      idleTimeoutMs: env.IDLE_TIMEOUT_MS,
    },
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
