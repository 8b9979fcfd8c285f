import { z } from "zod";
import { TableName } from "./tenancy.ts";

/** Something an operator should know about a source. `error` makes a run fail, `warning` does not. */
export const Finding = z.object({
  severity: z.enum(["error", "warning", "info"]),
  code: z.string(),
  table: TableName.nullable(),
  message: z.string(),
  /** One imperative sentence; with the SQL to run where SQL helps. */
  hint: z.string(),
});
export type Finding = z.infer<typeof Finding>;
