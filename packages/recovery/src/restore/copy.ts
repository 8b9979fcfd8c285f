import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { from as copyFrom, to as copyTo } from "pg-copy-streams";
import { FingerprintSum } from "../archive/fingerprint.ts";
import type { Fingerprint } from "../archive/manifest.ts";
import type { SourceClient } from "../postgres/source.ts";
import { readRows } from "./read-rows.ts";

const NEWLINE = 0x0a;

/** The rows of a query as COPY text, in chunks cut anywhere. */
export function copyOut(client: SourceClient, query: string): Readable {
  return client.query(copyTo(`COPY (${query}) TO STDOUT`));
}

/** Loads COPY text into a table, given as SQL with its columns. An error of the chunks fails the COPY, and the transaction with it. */
export async function copyIn(
  client: SourceClient,
  target: string,
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): Promise<void> {
  await pipeline(Readable.from(chunks, { objectMode: false }), client.query(copyFrom(`COPY ${target} FROM STDIN`)), {
    signal,
  });
}

/** The fingerprint of a query's rows. `onRead` hears, often, of the rows and bytes so far. */
export async function measureRows(
  client: SourceClient,
  query: string,
  onRead?: (rows: number, bytes: number) => void,
): Promise<Fingerprint> {
  const sum = new FingerprintSum();
  let bytes = 0;
  await readRows(client, query, (text) => {
    sum.addText(text);
    bytes += text.length;
    onRead?.(sum.rows, bytes);
  });
  return sum.result();
}

/** Calls `onRow` with each row's text without its newline; a row is only valid during the call. */
export async function forEachRow(
  chunks: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
  onRow: (row: Uint8Array) => void,
): Promise<void> {
  let open: Uint8Array[] = [];
  for await (const chunk of chunks) {
    signal.throwIfAborted();
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const row = chunk.subarray(start, end);
      if (open.length === 0) {
        onRow(row);
      } else {
        onRow(Buffer.concat([...open, row]));
        open = [];
      }
      start = end + 1;
    }
    if (start < chunk.length) open.push(chunk.subarray(start));
  }
  if (open.length > 0) throw new RangeError("COPY text ended inside a row");
}

/** The rows that `wanted` accepts, as COPY text. */
export async function* filterRows(
  chunks: AsyncIterable<Uint8Array>,
  wanted: (row: Uint8Array) => boolean,
): AsyncGenerator<Uint8Array> {
  let open: Uint8Array[] = [];
  for await (const chunk of chunks) {
    const kept: Uint8Array[] = [];
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      const line = chunk.subarray(start, end + 1);
      const row = open.length === 0 ? line : Buffer.concat([...open, line]);
      open = [];
      if (wanted(row.subarray(0, -1))) kept.push(row);
      start = end + 1;
    }
    if (start < chunk.length) open.push(chunk.subarray(start));
    if (kept.length > 0) yield Buffer.concat(kept);
  }
  if (open.length > 0) throw new RangeError("COPY text ended inside a row");
}
