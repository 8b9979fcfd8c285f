import copyStreams from "pg-copy-streams";
import { quoteColumns, quoteTable } from "../../postgres/identifiers.ts";
import type { SourceClient } from "../../postgres/source.ts";
import type { TableName } from "../../postgres/tenancy.ts";

/** The COPY text of all rows of a table, through another COPY than Rowback's own. */
export function copyText(
  client: SourceClient,
  table: TableName,
  columns: readonly { readonly name: string }[],
): AsyncIterable<Uint8Array> {
  const list = quoteColumns(columns.map(({ name }) => name));
  return client.query(copyStreams.to(`COPY (SELECT ${list} FROM ${quoteTable(table)}) TO STDOUT`));
}
