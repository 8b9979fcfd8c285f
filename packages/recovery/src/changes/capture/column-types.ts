import { z } from "zod";
import type { SourceClient } from "../../postgres/source.ts";
import type { MessageColumn } from "./pgoutput.ts";

type TypeOfColumn = Pick<MessageColumn, "typeOid" | "typeModifier">;

const Row = z.object({ name: z.string(), representation: z.string().nullable() });

/** The types that messages name by their oids, as the source's catalogue has them. */
export class ColumnTypes {
  readonly #names = new Map<string, string>();
  readonly #representations = new Map<number, string>();

  /** Asks for those of these types that are not known yet. Errors as of the driver. */
  async learn(client: SourceClient, columns: readonly TypeOfColumn[]): Promise<void> {
    const wanted = columns.filter((column) => !this.#names.has(keyOf(column)));
    if (wanted.length === 0) return;
    const { rows } = await client.query(
      `SELECT pg_catalog.format_type(wanted.oid, wanted.modifier) AS name, t.typlen || t.typalign::text || t.typbyval AS representation
FROM unnest($1::oid[], $2::int[]) WITH ORDINALITY AS wanted(oid, modifier, place) LEFT JOIN pg_catalog.pg_type t ON t.oid = wanted.oid
ORDER BY wanted.place`,
      [wanted.map(({ typeOid }) => typeOid), wanted.map(({ typeModifier }) => typeModifier)],
    );
    for (const [index, { name, representation }] of z.array(Row).parse(rows).entries()) {
      const column = wanted[index];
      if (column === undefined) continue;
      this.#names.set(keyOf(column), name);
      if (representation !== null) this.#representations.set(column.typeOid, representation);
    }
  }

  /** As `format_type` prints it. */
  nameOf(column: TypeOfColumn): string {
    return this.#names.get(keyOf(column)) ?? `oid ${column.typeOid}`;
  }

  /** As of PublishedColumn; undefined: there is no such type any more. */
  readonly representationOf = (typeOid: number): string | undefined => this.#representations.get(typeOid);
}

function keyOf({ typeOid, typeModifier }: TypeOfColumn): string {
  return `${typeOid}/${typeModifier}`;
}
