import pg from "pg";
import { z } from "zod";
import type { ControlDatabase, Queryable } from "./control-database.ts";

/** A transaction in which row-level security shows this tenant's rows alone. */
export interface TenantClient extends Queryable {
  readonly tenantId: string;
}

/** A transaction that sees every tenant's rows. */
export interface SystemClient extends Queryable {
  readonly tenantId: null;
}

const TenantId = z.uuid();

/**
 * Runs `fn` in one transaction as `rowback_tenant` with this tenant set: commits when it resolves, rolls back when it
 * throws. The client is useless afterwards: a leaked one can't act with the rights of the next transaction.
 * @param tenantId a UUID; anything else throws before the database is asked
 */
export function withTenant<T>(
  db: ControlDatabase,
  tenantId: string,
  fn: (client: TenantClient) => Promise<T>,
): Promise<T> {
  const tenant = pg.escapeLiteral(TenantId.parse(tenantId));
  // Three statements of the simple protocol are one round trip; SET LOCAL ends with the transaction, whatever happens in it.
  const begin = `BEGIN; SET LOCAL ROLE rowback_tenant; SET LOCAL rowback.tenant_id = ${tenant}`;
  return transaction(db, begin, (query) => fn({ tenantId, query }));
}

/** Runs `fn` in one transaction as `rowback_system`: commits when it resolves, rolls back when it throws. */
export function withSystem<T>(db: ControlDatabase, fn: (client: SystemClient) => Promise<T>): Promise<T> {
  return transaction(db, "BEGIN", (query) => fn({ tenantId: null, query }));
}

async function transaction<T>(
  db: ControlDatabase,
  begin: string,
  fn: (query: Queryable["query"]) => Promise<T>,
): Promise<T> {
  const client = await db.pool.connect();
  // A server that restarts while `fn` does something else tells the connection, not a statement; unheard, that ends the process.
  client.on("error", ignore);
  let open = true;
  let broken: Error | undefined;
  try {
    await client.query(begin);
    const result = await fn((statement) => {
      if (!open) throw new Error("this client's transaction has ended; ask for another one");
      return client.query(statement);
    });
    open = false;
    const { command } = await client.query("COMMIT");
    // A statement failed and its error was swallowed: Postgres answers COMMIT with ROLLBACK, and nothing was written.
    if (command !== "COMMIT") throw new Error("the transaction was rolled back, because a statement in it had failed");
    return result;
  } catch (error) {
    open = false;
    broken = await rollBack(client);
    throw error;
  } finally {
    client.off("error", ignore);
    client.release(broken);
  }
}

/** The next statement on the connection, at the latest its ROLLBACK, reports what happened to it. */
function ignore(): void {}

/** The error of a connection that can't even roll back, and must not return to the pool. */
async function rollBack(client: pg.PoolClient): Promise<Error | undefined> {
  try {
    await client.query("ROLLBACK");
    return undefined;
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}
