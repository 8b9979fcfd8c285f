export { type ClientTools, clientTools, pgbenchProgram } from "./postgres/client-tools.ts";
export { type PostgresOptions, type PostgresServer, startPostgres } from "./postgres/start-postgres.ts";
export { cacheFolder, temporaryFolder } from "./process/folders.ts";
export { freePort } from "./process/free-port.ts";
export { type Program, startProgram } from "./process/program.ts";
export { startTcpProxy, type TcpProxy } from "./proxy/tcp-proxy.ts";
export { type RedisOptions, type RedisServer, startRedis } from "./redis/start-redis.ts";
export { type S3Server, startS3 } from "./s3/start-s3.ts";
