// Started once per vitest run of the project `integration`: real services, and a look at what the tests left behind.
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import type { TestProject } from "vitest/node";
import { z } from "zod";
import { startPostgres } from "../postgres/start-postgres.ts";
import { startRedis } from "../redis/start-redis.ts";
import { startS3 } from "../s3/start-s3.ts";
import { leakedDatabases, leakedProcesses, RUN_MARK } from "./leaks.ts";
import type { TestServices } from "./test-services.ts";

/** Test data need not survive a power cut; a whole run is several times faster without waiting for the disk. */
const FAST_AND_FORGETFUL = { fsync: "off", synchronous_commit: "off", full_page_writes: "off" };

async function someTestWantsS3(project: TestProject): Promise<boolean> {
  // The file filters of the command line: not in vitest's types. Should they move, every file counts, and S3 is started needlessly.
  const filters = z.array(z.string()).catch([]).parse(Reflect.get(project.vitest, "filenamePattern"));
  const { testFiles } = await project.globTestFiles(filters);
  for (const file of testFiles) if ((await readFile(file, "utf8")).includes("testS3")) return true;
  return false;
}

async function s3ForTests(project: TestProject): Promise<{ settings: TestServices["s3"]; stop(): Promise<void> }> {
  const nothing = async (): Promise<void> => {};
  if (!(await someTestWantsS3(project))) return { settings: null, stop: nothing };
  const s3 = await startS3();
  if ("unavailable" in s3) {
    console.error(`\n*** S3 TESTS ARE SKIPPED: no S3 server could be started here: ${s3.unavailable}\n`);
    return { settings: s3.unavailable, stop: nothing };
  }
  const { endpoint, region, accessKeyId, secretAccessKey, bucket } = s3;
  return { settings: { endpoint, region, accessKeyId, secretAccessKey, bucket, forcePathStyle: true }, stop: s3.stop };
}

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const runId = randomBytes(4).toString("hex");
  const own = process.env["DATABASE_URL"] ?? "";
  const [postgres, redis, s3] = await Promise.all([
    startPostgres(own === "" ? { settings: FAST_AND_FORGETFUL } : {}),
    startRedis(),
    s3ForTests(project),
  ]);
  process.env[RUN_MARK] = runId;
  project.provide("rowbackServices", { runId, postgresUrl: postgres.url, redisUrl: redis.url, s3: s3.settings });

  return async () => {
    const leaks = [...(await leakedProcesses(runId)), ...(await leakedDatabases(postgres.url, runId))];
    await Promise.all([postgres.stop(), redis.stop(), s3.stop()]);
    if (leaks.length === 0) return;
    process.exitCode = 1;
    throw new Error(`LEAK: the tests left behind:\n  ${leaks.join("\n  ")}`);
  };
}
