import pg from "pg";
import type { z } from "zod";

/** Runs one statement, or several without parameters, on a connection of its own. */
export async function runSql(url: string, text: string, values?: unknown[]): Promise<unknown[]> {
  const client = new pg.Client({ connectionString: url, application_name: "chaos", connectionTimeoutMillis: 5_000 });
  client.on("error", () => {});
  await client.connect();
  try {
    const result = await client.query(text, values);
    return result.rows ?? [];
  } finally {
    await client.end().catch(() => {});
  }
}

/** The rows of one statement, parsed. */
export async function rowsOf<T>(url: string, row: z.ZodType<T>, text: string, values?: unknown[]): Promise<T[]> {
  return row.array().parse(await runSql(url, text, values));
}
