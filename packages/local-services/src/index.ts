export { type PostgresOptions, type PostgresServer, startPostgres } from "./postgres/start-postgres.ts";
export { type RedisOptions, type RedisServer, startRedis } from "./redis/start-redis.ts";
