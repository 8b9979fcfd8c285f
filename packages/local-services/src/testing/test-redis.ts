import { randomBytes } from "node:crypto";
import { Redis } from "ioredis";
import { onScopeEnd } from "./cleanup.ts";
import { testServices } from "./test-services.ts";

/** The run's Redis and a key (queue) prefix of the test's own; keys below it are deleted when the test (or file) ends. */
export function testRedis(): { url: string; prefix: string } {
  const { redisUrl, runId } = testServices();
  const prefix = `rowback-test-${runId}-${randomBytes(4).toString("hex")}`;
  onScopeEnd(async () => {
    const redis = new Redis(redisUrl, { maxRetriesPerRequest: 2, retryStrategy: (times) => (times > 5 ? null : 100) });
    redis.on("error", () => {});
    try {
      let cursor = "0";
      do {
        const [next, keys] = await redis.scan(cursor, "MATCH", `${prefix}*`, "COUNT", 1000);
        if (keys.length > 0) await redis.unlink(...keys);
        cursor = next;
      } while (cursor !== "0");
    } finally {
      redis.disconnect();
    }
  });
  return { url: redisUrl, prefix };
}
