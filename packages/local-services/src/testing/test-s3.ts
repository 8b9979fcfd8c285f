import { randomBytes } from "node:crypto";
import { type S3Settings, testServices } from "./test-services.ts";

/**
 * The run's S3 server and a key prefix of the test's own, or null where none could be started (the run says loudly why):
 * `describe.skipIf(testS3() === null)`. Works at a file's top level as well as in tests.
 */
export function testS3(): S3Settings | null {
  const { s3, runId } = testServices();
  if (s3 === null)
    throw new Error("S3 is started only when a test file of the run has the word testS3 in it: call it there");
  if (typeof s3 === "string") return null;
  return { ...s3, prefix: `test-${runId}-${randomBytes(4).toString("hex")}/` };
}
