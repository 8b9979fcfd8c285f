import { inject } from "vitest";

/** S3 settings of a test: everything below `prefix` in `bucket` is the test's own. */
export interface S3Settings {
  endpoint: string;
  region: string;
  accessKeyId: string;
  secretAccessKey: string;
  bucket: string;
  prefix: string;
  forcePathStyle: true;
}

/** What the global setup starts once per run and hands to every test file. */
export interface TestServices {
  /** Part of every name that this run makes, so that leaks can be told from other runs' things. */
  runId: string;
  postgresUrl: string;
  redisUrl: string;
  /** A string says why there is none; null: no test file of this run asks for it. */
  s3: Omit<S3Settings, "prefix"> | string | null;
}

declare module "vitest" {
  export interface ProvidedContext {
    rowbackServices: TestServices;
  }
}

export function testServices(): TestServices {
  const services = inject("rowbackServices");
  if (services === undefined) {
    throw new Error(
      "No services here: name the file *.integration.test.ts, so that it runs in the project `integration`.",
    );
  }
  return services;
}
