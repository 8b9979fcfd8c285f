import { openControlDatabase } from "@rowback/db";
import { connectLimiter, createProducer, openQueues, throttledErrors } from "@rowback/jobs";
import { openStore } from "@rowback/storage";
import closeWithGrace from "close-with-grace";
import { buildApp } from "./app.ts";
import { readConfig } from "./config.ts";
import { createLogger } from "./logger.ts";
import { createRateLimits } from "./rate-limits.ts";

// Kubernetes kills 30 s after it asked; the last seconds are for closing the connections.
const DRAIN_MS = 25_000;

const config = readConfig();
const log = createLogger(config.logLevel);
if (config.settings.tokens.kind === "secret")
  log.warn("tokens are checked with JWT_SECRET: whoever can check one can make one; set JWT_JWKS_URL in production");
const redis = { redisUrl: config.redisUrl, prefix: config.queuePrefix };
const onRedisError = throttledErrors(log, "Redis can't be reached; trying again");

const db = openControlDatabase({
  url: config.databaseUrl,
  maxConnections: config.databaseConnections,
  applicationName: "rowback-api",
  onIdleError: (err) => log.warn({ err }, "the control database closed a connection"),
});
const producer = createProducer({ ...redis, onError: onRedisError });
const queues = openQueues(redis, onRedisError);
const limiterRedis = connectLimiter(config.redisUrl, onRedisError);
const store = openStore(config.store);
const app = await buildApp({
  db,
  producer,
  queues,
  limits: createRateLimits(limiterRedis, config.queuePrefix, config.rateLimits),
  store,
  log,
  settings: config.settings,
  trustedProxies: config.trustedProxies,
});

closeWithGrace({ delay: DRAIN_MS, logger: log }, async ({ err }) => {
  if (err !== undefined) log.fatal({ err }, "stopping after a defect");
  await app.close();
  await Promise.allSettled([producer.close(), queues.close(), store.close(), db.close()]);
  limiterRedis.disconnect();
});
await app.listen({ host: config.host, port: config.port });
