import { ListMultipartUploadsCommand, S3Client } from "@aws-sdk/client-s3";
import { testS3 } from "@rowback/local-services/testing";
import { describe } from "vitest";
import { describeObjectStore } from "../conformance.ts";
import { openStore } from "../open.ts";

describe.skipIf(testS3() === null)("on the real server", () => {
  describeObjectStore("the S3 driver", async () => {
    const settings = testS3();
    if (settings === null) throw new Error("there is no S3 server");
    const { bucket, endpoint, region, accessKeyId, secretAccessKey } = settings;
    const leftovers = async (): Promise<string[]> => {
      const client = new S3Client({
        endpoint,
        region,
        forcePathStyle: true,
        credentials: { accessKeyId, secretAccessKey },
      });
      const page = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: settings.prefix }));
      client.destroy();
      return (page.Uploads ?? []).map(({ Key }) => Key ?? "");
    };
    return { store: openStore({ driver: "s3", ...settings }), leftovers };
  });
});
