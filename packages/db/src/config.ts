import { z } from "zod";

/** What `npm run migrate` and `npm run operator` read from the environment. */
export function readControlDatabaseConfig(): { databaseUrl: string } {
  const environment = z
    .object({
      DATABASE_URL: z.url({
        protocol: /^postgres(ql)?$/,
        error: "DATABASE_URL must be a postgres:// URL of the control database",
      }),
    })
    .parse(process.env);
  return { databaseUrl: environment.DATABASE_URL };
}
