/**
 * `npm run dev`: everything running on this machine, restarted on change. Data is kept between runs, below the cache
 * folder; DATABASE_URL, REDIS_URL and S3_* of the environment are used instead of servers of its own.
 */
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { cacheFolder, type Program, startPostgres, startProgram, startRedis } from "@rowback/local-services";
import { controlDatabase, sampleDatabase } from "./databases.ts";
import { developmentSecrets } from "./secrets.ts";
import { developmentToken } from "./token.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const OPERATOR = "dev@rowback.example";

type Cleanup = () => Promise<void>;

async function main(): Promise<void> {
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => resolve());
  });
  const cleanups: Cleanup[] = [];
  try {
    const programs = await start(cleanups);
    await Promise.race([stopped, ...programs.map((program) => program.exited)]);
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup();
  }
}

async function start(cleanups: Cleanup[]): Promise<Program[]> {
  // One folder a clone, so that two clones don't share a database.
  const folder = join(cacheFolder(), `dev-${createHash("sha256").update(ROOT).digest("hex").slice(0, 8)}`);
  await mkdir(folder, { recursive: true });
  const secrets = await developmentSecrets(folder);
  const { DATABASE_URL, REDIS_URL, S3_BUCKET, PORT = "3000", METRICS_PORT = "9464" } = process.env;

  const postgres = await startPostgres(DATABASE_URL ? {} : { dataDir: join(folder, "postgres") });
  cleanups.push(() => postgres.stop());
  const redis = await startRedis(REDIS_URL ? {} : { dir: join(folder, "redis"), appendOnly: true });
  cleanups.push(() => redis.stop());
  const controlUrl = await controlDatabase(postgres.url, OPERATOR);
  const sampleUrl = await sampleDatabase(postgres.url);

  const env = {
    ...process.env,
    DATABASE_URL: controlUrl,
    REDIS_URL: redis.url,
    ...(S3_BUCKET ? {} : { STORE: `file://${join(folder, "store")}` }),
    JWT_SECRET: secrets.jwtSecret,
    ROWBACK_SECRET_KEY: secrets.secretKey,
    ROWBACK_MASTER_KEY: secrets.masterKey,
    ENCRYPT_SOURCES: "true",
    ROWBACK_SAMPLE_URL: sampleUrl,
    PORT,
    METRICS_PORT,
  };
  const programs = ["apps/api/src/main.ts", "apps/worker/src/main.ts"].map((main) =>
    startProgram(process.execPath, ["--watch", "--watch-preserve-output", join(ROOT, main)], env),
  );
  for (const program of programs) cleanups.push(() => program.stop());
  announce(`http://127.0.0.1:${PORT}`, { controlUrl, sampleUrl, redisUrl: redis.url, folder }, secrets.jwtSecret);
  return programs;
}

function announce(apiUrl: string, places: Record<string, string>, jwtSecret: string): void {
  const token = developmentToken(OPERATOR, jwtSecret);
  console.log(`
  API               ${apiUrl}        description: ${apiUrl}/docs        queues: ${apiUrl}/admin/queues
  control database  ${places["controlUrl"]}
  sample source     ${places["sampleUrl"]}   (to the worker: env:ROWBACK_SAMPLE_URL; new sources are encrypted)
  Redis             ${places["redisUrl"]}
  data              ${places["folder"]}   (delete it to begin anew)

  You are the operator ${OPERATOR}, for a day:
  export TOKEN=${token}
  curl -H "authorization: Bearer $TOKEN" ${apiUrl}/v1/sources

  Files are watched: the API and the worker restart on change. Ctrl-C stops everything.
`);
}

await main();
