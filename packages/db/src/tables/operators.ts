import type { Queryable } from "../control-database.ts";

/** Whether the user runs this Rowback (sources, tenants, queues). System only. */
export async function isOperator(q: Queryable, userId: string): Promise<boolean> {
  const result = await q.query({
    name: "is_operator",
    text: "SELECT FROM operators WHERE user_id = $1",
    values: [userId],
  });
  return result.rowCount === 1;
}

/** Makes the user an operator. System only. */
export async function addOperator(q: Queryable, userId: string): Promise<void> {
  await q.query({ text: "INSERT INTO operators (user_id) VALUES ($1) ON CONFLICT DO NOTHING", values: [userId] });
}

/** Ends it. False when the user was none. System only. */
export async function removeOperator(q: Queryable, userId: string): Promise<boolean> {
  const result = await q.query({ text: "DELETE FROM operators WHERE user_id = $1", values: [userId] });
  return result.rowCount === 1;
}
