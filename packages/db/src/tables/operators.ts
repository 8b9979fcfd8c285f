import { COMMAND_LINE_USER, type CommandLineAuthor } from "../command-line.ts";
import type { Queryable } from "../control-database.ts";
import { jsonb } from "../rows.ts";

/** Whether the user runs this Rowback (sources, tenants, queues). System only. */
export async function isOperator(q: Queryable, userId: string): Promise<boolean> {
  const result = await q.query({
    name: "is_operator",
    text: "SELECT FROM operators WHERE user_id = $1",
    values: [userId],
  });
  return result.rowCount === 1;
}

/** Makes the user an operator, of which no audit entry tells: for a world that is being set up. System only. */
export async function addOperator(q: Queryable, userId: string): Promise<void> {
  await q.query({ text: "INSERT INTO operators (user_id) VALUES ($1) ON CONFLICT DO NOTHING", values: [userId] });
}

/** Makes the user an operator, and notes who did so. False: the user was one already, and nothing changed. System only. */
export async function appointOperator(q: Queryable, userId: string, by: CommandLineAuthor): Promise<boolean> {
  return await noted(q, "operator.add", "INSERT INTO operators (user_id) VALUES ($1) ON CONFLICT DO NOTHING", {
    userId,
    by,
    isOperator: true,
  });
}

/** Ends it, and notes who did so. False: the user was none, and nothing changed. System only. */
export async function dismissOperator(q: Queryable, userId: string, by: CommandLineAuthor): Promise<boolean> {
  return await noted(q, "operator.remove", "DELETE FROM operators WHERE user_id = $1", {
    userId,
    by,
    isOperator: false,
  });
}

/** The change and its entry, in the chain of no tenant, are one statement: neither is there without the other. */
async function noted(
  q: Queryable,
  action: "operator.add" | "operator.remove",
  change: string,
  { userId, by, isOperator }: { userId: string; by: CommandLineAuthor; isOperator: boolean },
): Promise<boolean> {
  const result = await q.query({
    text: `WITH changed AS (${change} RETURNING user_id)
INSERT INTO audit_log (user_id, action, ip, before, after)
SELECT $2::text, $3::text, inet_client_addr(), $4::jsonb, $5::jsonb FROM changed`,
    values: [
      userId,
      COMMAND_LINE_USER,
      action,
      jsonb({ operator: userId, isOperator: !isOperator }),
      jsonb({ operator: userId, isOperator, ...by }),
    ],
  });
  return result.rowCount === 1;
}
