import type { SourceClient } from "../postgres/source.ts";
import { isChanged, type TableDifference } from "./difference.ts";
import type { ComparedTable } from "./drift.ts";
import type { RowOperation, RowSample } from "./plan.ts";
import { slot, temp } from "./temp-tables.ts";

/** Rows shown of each operation of a table. */
const SAMPLE_ROWS = 20;
/** Characters shown of a value: enough to recognise it, and a plan stays readable and small whatever the values are. */
const SAMPLE_CHARACTERS = 120;

/** Up to 20 rows of each operation, in key order; long values are cut by the server, so none travels whole. */
export async function sampleRows(client: SourceClient, difference: TableDifference): Promise<RowSample[]> {
  if (!isChanged(difference)) return [];
  const { compared, change } = difference;
  const samples: RowSample[] = [];
  if (change.inserted.rows > 0) samples.push(...(await sampleOneSided(client, compared, "insert")));
  if (change.replaced.rows > 0) samples.push(...(await sampleUpdates(client, compared)));
  if (change.deleted.rows > 0) samples.push(...(await sampleOneSided(client, compared, "delete")));
  return samples;
}

async function sampleOneSided(
  client: SourceClient,
  compared: ComparedTable,
  op: Exclude<RowOperation, "update">,
): Promise<RowSample[]> {
  const { rows } = await client.query<Record<string, string | null>>(
    `SELECT ${shortened(compared, "s", "v")} FROM ${temp(compared, op === "insert" ? "after" : "before")} AS s
     WHERE s.op = '${op}' ORDER BY ${sampleOrder(compared, "s")} LIMIT ${SAMPLE_ROWS}`,
  );
  return rows.map((row) => {
    const image = imageOf(compared, row, "v");
    const sides = op === "insert" ? { before: null, after: image } : { before: image, after: null };
    return { op, key: keyOf(compared, image), ...sides, changed: [] };
  });
}

async function sampleUpdates(client: SourceClient, compared: ComparedTable): Promise<RowSample[]> {
  const differs = compared.columns.map(
    (_, at) =>
      `CASE WHEN ROW(b.${slot(at)})::text COLLATE "C" <> ROW(a.${slot(at)})::text COLLATE "C" THEN 'changed' END AS d${at}`,
  );
  const { rows } = await client.query<Record<string, string | null>>(
    `SELECT ${shortened(compared, "b", "b")}, ${shortened(compared, "a", "a")}, ${differs.join(", ")}
     FROM ${temp(compared, "before")} AS b JOIN ${temp(compared, "after")} AS a ON a.n = b.n
     ORDER BY ${sampleOrder(compared, "b")} LIMIT ${SAMPLE_ROWS}`,
  );
  return rows.map((row) => {
    const before = imageOf(compared, row, "b");
    const changed = compared.columns.filter((_, at) => row[`d${at}`] === "changed").map((column) => column.name);
    return { op: "update", key: keyOf(compared, before), before, after: imageOf(compared, row, "a"), changed };
  });
}

/** `format` prints a value as COPY would; a cast to text would not (it cuts char(n), for one). */
function shortened(compared: ComparedTable, alias: string, prefix: string): string {
  return compared.columns
    .map((_, at) => {
      const value = `${alias}.${slot(at)}`;
      return `CASE WHEN ${value} IS DISTINCT FROM NULL THEN left(format('%s', ${value}), ${SAMPLE_CHARACTERS + 1}) END AS ${prefix}${at}`;
    })
    .join(", ");
}

function sampleOrder(compared: ComparedTable, alias: string): string {
  return compared.key?.map((at) => `${alias}.${slot(at)}`).join(", ") ?? `${alias}.n`;
}

function imageOf(
  compared: ComparedTable,
  row: Readonly<Record<string, string | null>>,
  prefix: string,
): Record<string, string | null> {
  return Object.fromEntries(compared.columns.map((column, at) => [column.name, cut(row[`${prefix}${at}`] ?? null)]));
}

function cut(value: string | null): string | null {
  if (value === null || [...value].length <= SAMPLE_CHARACTERS) return value;
  return `${[...value].slice(0, SAMPLE_CHARACTERS).join("")}…`;
}

function keyOf(
  compared: ComparedTable,
  image: Readonly<Record<string, string | null>>,
): Record<string, string | null> | null {
  const names = compared.key?.flatMap((at) => compared.columns.slice(at, at + 1).map((column) => column.name));
  return names === undefined ? null : Object.fromEntries(names.map((name) => [name, image[name] ?? null]));
}
