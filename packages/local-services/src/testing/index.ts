export { redisContent } from "./redis-content.ts";
export { type SmallDisk, smallDisk, smallDiskFault } from "./small-disk.ts";
export { type TestDatabase, type TestRole, testDatabase, testRole } from "./test-database.ts";
export { testFolder } from "./test-folder.ts";
export { testRedis } from "./test-redis.ts";
export { testS3 } from "./test-s3.ts";
export type { S3Settings } from "./test-services.ts";
