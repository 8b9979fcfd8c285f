import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { ListMultipartUploadsCommand, S3Client } from "@aws-sdk/client-s3";
import type { StoreConfig } from "@rowback/storage";

/** What was begun to be stored and never ended: no listing of objects shows it, so it is asked for by a road of its own. */
export async function unfinishedUploads(store: StoreConfig): Promise<string[]> {
  if (store.driver === "filesystem") {
    const names = await readdir(join(store.root, ".rowback", "tmp"));
    return names.map((name) => `the temporary file ${name}`);
  }
  const { bucket, endpoint, region, accessKeyId, secretAccessKey } = store;
  if (endpoint === undefined || accessKeyId === undefined || secretAccessKey === undefined)
    throw new Error("the store's settings are not complete");
  const client = new S3Client({
    endpoint,
    region,
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  try {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    return Uploads.map(({ Key, Initiated }) => `the upload of ${Key}, begun ${Initiated?.toISOString()}`);
  } finally {
    client.destroy();
  }
}
