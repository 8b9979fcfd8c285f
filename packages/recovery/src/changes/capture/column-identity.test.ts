import fc from "fast-check";
import { expect, test } from "vitest";
import { identifyColumns, type KnownColumn, type KnownTable, knownTable, storedColumns } from "./column-identity.ts";
import type { MessageColumn } from "./pgoutput.ts";
import type { PublishedColumn, PublishedTable } from "./published-tables.ts";

/** Types by oid: text and varchar look alike in a row, the others do not. */
const REPRESENTATIONS = new Map([
  [25, "-1if"],
  [1043, "-1if"],
  [23, "4it"],
  [701, "8dt"],
]);
const representationOf = (typeOid: number): string | undefined => REPRESENTATIONS.get(typeOid);

type Step =
  | { readonly do: "add"; readonly name: string; readonly typeOid: number; readonly missing: string | null }
  | {
      readonly do: "drop" | "rename" | "retype";
      readonly which: number;
      readonly name: string;
      readonly typeOid: number;
    }
  | { readonly do: "rewrite" };

/** A table as PostgreSQL keeps it: numbers are given once, every change of a column writes its row anew. */
class Table {
  #now: PublishedTable;
  #xid = 100;
  /** What rows have that are older than a column, whatever the catalogue still knows. */
  readonly missing = new Map<number, string | null>();

  constructor() {
    this.#now = {
      oid: 1,
      table: { schema: "s", name: "t" },
      filenode: "1",
      leaves: [],
      columns: [],
      dropped: [],
      attnums: 0,
    };
    for (const name of ["id", "a", "b"]) this.take({ do: "add", name, typeOid: 25, missing: null });
  }

  get now(): PublishedTable {
    return this.#now;
  }

  take(step: Step): void {
    this.#xid += 1;
    const { columns, dropped, attnums, filenode } = this.#now;
    if (step.do === "add") {
      if (columns.some(({ name }) => name === step.name)) return;
      const { name, typeOid, missing } = step;
      const column = this.#column(attnums + 1, name, typeOid, missing);
      this.missing.set(column.attnum, missing);
      this.#now = { ...this.#now, columns: [...columns, column], attnums: attnums + 1 };
      return;
    }
    if (step.do === "rewrite") {
      const whole = columns.map((column) => ({ ...column, missing: null, hasMissing: false }));
      this.#now = { ...this.#now, columns: whole, filenode: String(Number(filenode) + 1) };
      return;
    }
    const column = columns[step.which % Math.max(1, columns.length)];
    if (column === undefined) return;
    if (step.do === "drop") {
      const gone = { attnum: column.attnum, representation: column.representation };
      this.#now = { ...this.#now, columns: columns.filter((one) => one !== column), dropped: [...dropped, gone] };
      return;
    }
    if (step.do === "rename" && columns.some(({ name }) => name === step.name)) return;
    const change = step.do === "rename" ? { name: step.name } : this.#type(column, step.typeOid);
    const changed = { ...column, ...change, writtenBy: String(this.#xid) };
    this.#now = { ...this.#now, columns: columns.map((one) => (one === column ? changed : one)) };
  }

  #type(column: PublishedColumn, typeOid: number): Pick<PublishedColumn, "typeOid" | "representation"> {
    const representation = REPRESENTATIONS.get(typeOid) ?? "";
    if (representation !== column.representation) this.take({ do: "rewrite" });
    return { typeOid, representation };
  }

  #column(attnum: number, name: string, typeOid: number, missing: string | null): PublishedColumn {
    const representation = REPRESENTATIONS.get(typeOid) ?? "";
    const value = { missing, hasMissing: missing !== null };
    const type = String(typeOid);
    const rest = { typeModifier: -1, generated: false, filled: false, writtenBy: String(this.#xid) };
    return { attnum, name, typeOid, type, representation, ...value, ...rest };
  }
}

const names = fc.constantFrom("a", "b", "c", "d");
const types = fc.constantFrom(...REPRESENTATIONS.keys());
const steps: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    do: fc.constant("add" as const),
    name: names,
    typeOid: types,
    missing: fc.constantFrom(null, "given"),
  }),
  fc.record({
    do: fc.constantFrom("drop" as const, "rename" as const, "retype" as const),
    which: fc.nat(9),
    name: names,
    typeOid: types,
  }),
  fc.constant({ do: "rewrite" as const }),
);

function messageOf(table: PublishedTable): MessageColumn[] {
  return storedColumns(table).map(({ name, typeOid, typeModifier }) => ({ name, typeOid, typeModifier, key: false }));
}

function aligned(columns: readonly KnownColumn[], before: KnownTable | null): KnownTable {
  const attnums = Math.max(before?.attnums ?? 0, ...columns.map(({ attnum }) => attnum));
  return { columns, attnums, filenode: before?.filenode ?? null };
}

test("whatever was done to a table between two looks, the columns of a message are the right ones or none", () => {
  let told = 0;
  let asked = 0;
  const history = fc.array(fc.record({ steps: fc.array(steps, { maxLength: 4 }), message: fc.boolean() }), {
    minLength: 1,
    maxLength: 4,
  });
  fc.assert(
    fc.property(fc.boolean(), fc.array(steps, { maxLength: 6 }), history, (isKnown, earlier, rounds) => {
      const table = new Table();
      for (const step of earlier) table.take(step);
      let before: KnownTable | null = isKnown ? knownTable(table.now) : null;
      const messages: PublishedTable[] = [];
      for (const round of rounds) {
        for (const step of round.steps) table.take(step);
        if (round.message) messages.push(table.now);
      }
      for (const then of messages) {
        const found = identifyColumns(messageOf(then), { before, after: table.now, representationOf });
        asked += 1;
        if (found === null) continue;
        told += 1;
        expect(found.map(({ attnum }) => attnum)).toEqual(then.columns.map(({ attnum }) => attnum));
        // A rewrite makes the catalogue forget it; who looks keeps what it saw before (rememberMissing).
        if (table.now.filenode === "1")
          expect(found.map(({ missing }) => missing)).toEqual(found.map(({ attnum }) => table.missing.get(attnum)));
        before = aligned(found, before);
      }
    }),
    { numRuns: 3_000 },
  );
  // Else it would be no use.
  expect(told / asked).toBeGreaterThan(0.5);
});

test("one change between two looks is always told, with the value that older rows have", () => {
  fc.assert(
    fc.property(fc.array(steps, { maxLength: 6 }), steps, (earlier, step) => {
      const table = new Table();
      for (const one of earlier) table.take(one);
      const before = table.now;
      table.take(step);
      const known = knownTable(before);
      for (const then of [before, table.now]) {
        const found = identifyColumns(messageOf(then), { before: known, after: table.now, representationOf });
        expect(found?.map(({ attnum }) => attnum)).toEqual(then.columns.map(({ attnum }) => attnum));
      }
    }),
    { numRuns: 1_000 },
  );
});

test("a column that was dropped and made again could be either, unless a message in between lacked it", () => {
  const table = new Table();
  table.take({ do: "add", name: "c", typeOid: 25, missing: "old" });
  const first = table.now;
  table.take({ do: "drop", which: 3, name: "", typeOid: 0 });
  const between = table.now;
  table.take({ do: "add", name: "c", typeOid: 25, missing: "new" });
  const before = knownTable(first);
  const after = table.now;
  expect(identifyColumns(messageOf(after), { before, after, representationOf })).toBeNull();
  const gone = identifyColumns(messageOf(between), { before, after, representationOf }) ?? [];
  expect(gone.map(({ attnum }) => attnum)).toEqual([1, 2, 3]);
  const again = identifyColumns(messageOf(after), { before: aligned(gone, before), after, representationOf });
  expect(again?.map(({ attnum, missing }) => [attnum, missing]).at(-1)).toEqual([5, "new"]);
});

test("a column that came and went while nobody looked has no known value in older rows", () => {
  const table = new Table();
  const before = knownTable(table.now);
  table.take({ do: "add", name: "c", typeOid: 25, missing: "given" });
  const message = messageOf(table.now);
  table.take({ do: "drop", which: 3, name: "", typeOid: 0 });
  expect(identifyColumns(message, { before, after: table.now, representationOf })).toBeNull();
});

test("a table that is gone is what it was, if its message says the same", () => {
  const table = new Table();
  const before = knownTable(table.now);
  expect(identifyColumns(messageOf(table.now), { before, after: null, representationOf })).not.toBeNull();
  table.take({ do: "rename", which: 1, name: "z", typeOid: 0 });
  expect(identifyColumns(messageOf(table.now), { before, after: null, representationOf })).toBeNull();
});
