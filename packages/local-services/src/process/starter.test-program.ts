// Started by leftovers.integration.test.ts: starts every service, says which, and waits to be killed.
import { startPostgres } from "../postgres/start-postgres.ts";
import { startRedis } from "../redis/start-redis.ts";

const postgres = await startPostgres({ settings: { fsync: "off" } });
const redis = await startRedis({ appendOnly: true });
console.log(JSON.stringify({ pids: [postgres.pid, redis.pid], urls: [postgres.url, redis.url] }));
setInterval(() => {}, 60_000);
