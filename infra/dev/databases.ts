import { readFile } from "node:fs/promises";
import { addOperator, migrate, openControlDatabase } from "@rowback/db";
import pg from "pg";

async function withClient<T>(url: string, fn: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    return await fn(client);
  } finally {
    await client.end();
  }
}

/** The URL of a database of that name on the server, and whether it had to be made. */
async function database(serverUrl: string, name: string): Promise<{ url: string; fresh: boolean }> {
  const fresh = await withClient(serverUrl, async (client) => {
    const { rowCount } = await client.query("SELECT FROM pg_database WHERE datname = $1", [name]);
    if (rowCount === 0) await client.query(`CREATE DATABASE ${pg.escapeIdentifier(name)}`);
    return rowCount === 0;
  });
  const url = new URL(serverUrl);
  url.pathname = `/${name}`;
  return { url: url.href, fresh };
}

/** The control database, migrated, with `operator` in it. */
export async function controlDatabase(serverUrl: string, operator: string): Promise<string> {
  const { url } = await database(serverUrl, "rowback_dev");
  await migrate(url);
  const db = openControlDatabase({ url, maxConnections: 1, applicationName: "rowback-dev" });
  try {
    await addOperator(db.system, operator);
  } finally {
    await db.close();
  }
  return url;
}

/** The demo's sample product, as a source to try things on. */
export async function sampleDatabase(serverUrl: string): Promise<string> {
  const { url, fresh } = await database(serverUrl, "rowback_dev_sample");
  if (fresh) {
    const sql = await readFile(new URL("../demo/sample-saas.sql", import.meta.url), "utf8");
    await withClient(url, (client) => client.query(sql));
  }
  return url;
}
