import pg from "pg";
import { z } from "zod";
import { OWN_WRITE } from "./journals.ts";
import type { Random } from "./random.ts";
import { rowsOf } from "./sql.ts";

/** What every tenant has in its accounts and savings together, always. */
export const TOTAL = 1_000_000;
const ACCOUNTS = 50;

const Digest = z.object({ digest: z.string(), total: z.coerce.number() });
export type TenantDigest = z.infer<typeof Digest>;

/** One tenant's rows by a road of its own: md5 over sorted row texts, none of Rowback's code; and the sum that must be TOTAL. */
const DIGEST = `
  SELECT md5(coalesce(string_agg(row_digest, '' ORDER BY row_digest), '')) AS digest,
    (SELECT coalesce(sum(balance), 0) FROM (SELECT balance FROM accounts WHERE tenant_id = $1
      UNION ALL SELECT balance FROM savings WHERE tenant_id = $1) AS every_balance) AS total
  FROM (
    SELECT md5('tenants' || t::text) AS row_digest FROM tenants t WHERE tenant_id = $1
    UNION ALL SELECT md5('accounts' || t::text) FROM accounts t WHERE tenant_id = $1
    UNION ALL SELECT md5('savings' || t::text) FROM savings t WHERE tenant_id = $1
    UNION ALL SELECT md5('documents' || t::text) FROM documents t WHERE tenant_id = $1
    UNION ALL SELECT md5('comments' || c::text) FROM comments c JOIN documents d ON d.id = c.document_id WHERE d.tenant_id = $1
  ) AS every_row`;

/** The tenant's rows as plain SQL sees them. Throws while the server is away. */
export async function digestOf(url: string, tenant: string): Promise<TenantDigest> {
  const [digest] = await rowsOf(url, Digest, DIGEST, [tenant]);
  if (digest === undefined) throw new Error("an aggregate gave no row");
  return digest;
}

/** Makes the tenant, with about `documents` KiB of text that compresses badly. */
export async function createTenantRows(url: string, tenant: string, documents: number): Promise<void> {
  await inOwnTransaction(url, async (client) => {
    const savings = TOTAL - ACCOUNTS * 1_000;
    await client.query("INSERT INTO tenants VALUES ($1, 'Tenant ' || $1)", [tenant]);
    await client.query("INSERT INTO accounts SELECT n, $1, 'account ' || n, 1000 FROM generate_series(1, $2) AS n", [
      tenant,
      ACCOUNTS,
    ]);
    await client.query("INSERT INTO savings VALUES (1, $1, $2)", [tenant, savings]);
    await insertDocuments(client, tenant, documents);
  });
}

async function insertDocuments(client: pg.Client, tenant: string, count: number): Promise<void> {
  await client.query(
    `WITH made AS (
       INSERT INTO documents (tenant_id, title, body)
       SELECT $1, 'document ' || n, (SELECT string_agg(md5(random()::text || n || m), '') FROM generate_series(1, 32) AS m)
       FROM generate_series(1, $2) AS n RETURNING id)
     INSERT INTO comments (document_id, text) SELECT id, $1 || ' says \\ "ő"' FROM made WHERE id % 3 = 0`,
    [tenant, count],
  );
}

/** A few changes as an application makes them, in one transaction. */
export async function changeTenantRows(url: string, tenant: string, random: Random): Promise<void> {
  const [account, amount] = [random.whole(1, ACCOUNTS), random.whole(1, 500)];
  const what = random.whole(1, 4);
  await inOwnTransaction(url, async (client) => {
    await transfer(client, tenant, account, amount);
    if (what === 1) await insertDocuments(client, tenant, random.whole(1, 5));
    if (what === 2) {
      await client.query(
        "DELETE FROM documents WHERE id IN (SELECT id FROM documents WHERE tenant_id = $1 ORDER BY id DESC LIMIT 4)",
        [tenant],
      );
    }
    if (what === 3) {
      await client.query(
        `UPDATE documents SET title = 'changed ' || $2::text, changed_at = clock_timestamp()
         WHERE id IN (SELECT id FROM documents WHERE tenant_id = $1 ORDER BY id LIMIT 7)`,
        [tenant, amount],
      );
    }
    if (what === 4)
      await client.query("UPDATE tenants SET name = $2 WHERE tenant_id = $1", [tenant, `Tenant ${amount}`]);
  });
}

/** Two rows of two tables whose sum stays: a backup that saw only one of them shows another TOTAL. */
async function transfer(client: pg.Client, tenant: string, account: number, amount: number): Promise<void> {
  await client.query("UPDATE savings SET balance = balance - $2 WHERE tenant_id = $1 AND id = 1", [tenant, amount]);
  await client.query("UPDATE accounts SET balance = balance + $3 WHERE tenant_id = $1 AND id = $2", [
    tenant,
    account,
    amount,
  ]);
}

async function inOwnTransaction(url: string, fn: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: "chaos", connectionTimeoutMillis: 5_000 });
  client.on("error", () => {});
  await client.connect();
  try {
    await client.query("BEGIN");
    await client.query(OWN_WRITE);
    await fn(client);
    await client.query("COMMIT");
  } finally {
    await client.end().catch(() => {});
  }
}
