import pg from "pg";

/**
 * One digest per tenant of every row it owns, by a road of its own: plain SQL (md5 over sorted row texts), none of Rowback's code.
 * If Rowback's own fingerprints were wrong, this would tell.
 */
const ROWS_BY_ACCOUNT = `
  SELECT account, md5(string_agg(row_digest, '' ORDER BY row_digest)) AS digest, count(*)::int AS rows
  FROM (
    SELECT id AS account, md5('accounts' || a::text) AS row_digest FROM accounts a
    UNION ALL SELECT account_id, md5('users' || t::text) FROM users t
    UNION ALL SELECT account_id, md5('teams' || t::text) FROM teams t
    UNION ALL SELECT account_id, md5('projects' || t::text) FROM projects t
    UNION ALL SELECT account_id, md5('tasks' || t::text) FROM tasks t
    UNION ALL SELECT k.account_id, md5('task_comments' || t::text) FROM task_comments t JOIN tasks k ON k.id = t.task_id
    UNION ALL SELECT account_id, md5('labels' || t::text) FROM labels t
    UNION ALL SELECT account_id, md5('task_labels' || t::text) FROM task_labels t
    UNION ALL SELECT account_id, md5('invoices' || t::text) FROM invoices t
    UNION ALL SELECT account_id, md5('invoice_lines' || t::text) FROM invoice_lines t
    UNION ALL SELECT account_id, md5('payments' || t::text) FROM payments t
    UNION ALL SELECT account_id, md5('events' || t::text) FROM events t
    UNION ALL SELECT account_id, md5('page_views' || t::text) FROM page_views t
    UNION ALL SELECT account_id, md5('Customer Notes' || t::text) FROM "Customer Notes" t
  ) AS every_row
  GROUP BY account ORDER BY account`;

export interface TenantDigest {
  readonly account: string;
  readonly digest: string;
  readonly rows: number;
}

/** The digests of all tenants of the sample database, in the order of their keys. */
export async function digestTenants(databaseUrl: string): Promise<TenantDigest[]> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    const { rows } = await client.query<TenantDigest>(ROWS_BY_ACCOUNT);
    return rows;
  } finally {
    await client.end();
  }
}

/** Which tenants differ between two moments. */
export function changedTenants(before: readonly TenantDigest[], after: readonly TenantDigest[]): string[] {
  const earlier = new Map(before.map((tenant) => [tenant.account, tenant.digest]));
  return after.filter((tenant) => earlier.get(tenant.account) !== tenant.digest).map((tenant) => tenant.account);
}

/** Whether this tenant has the same rows at both moments. */
export function sameTenant(before: readonly TenantDigest[], after: readonly TenantDigest[], account: string): boolean {
  const digest = (list: readonly TenantDigest[]): string | undefined =>
    list.find((tenant) => tenant.account === account)?.digest;
  return digest(before) !== undefined && digest(before) === digest(after);
}
