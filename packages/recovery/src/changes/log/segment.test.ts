import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../archive/testing/memory-store.ts";
import { RecoveryError } from "../../errors.ts";
import { type ChangeOp, escapeField, parseLines, rowFields, UNKNOWN_FIELD, unescapeField } from "./change-lines.ts";
import type { Relation, Transaction } from "./segment-index.ts";
import { parseSegmentKey } from "./segment-keys.ts";
import { listSegments, openSegment, readBlocks } from "./segment-reader.ts";
import { SegmentWriter, type WrittenSegment } from "./segment-writer.ts";

const SOURCE = "5b0e1a9e-6d0b-4c39-9a2f-0d6a3f4f9d11";

/** What a test says of a line, before and after it was stored. */
interface Told {
  readonly tenant: string | null;
  readonly table: string;
  readonly transaction: Transaction;
  readonly op: ChangeOp;
  readonly seq: number;
  readonly row: string;
  readonly movedTo: string | null;
}

const RELATIONS: readonly Relation[] = ["tasks", "Über notes"].map((name) => ({
  table: { schema: "public", name },
  scope: { kind: "direct", column: "tenant_id" },
  identity: "full",
  columns: [{ name: "id", type: "bigint", attnum: 1, key: true, missing: null }],
}));

const field = fc.oneof(fc.constant(null), fc.string({ unit: "binary", maxLength: 12 }));
const change = fc.record({
  relation: fc.nat({ max: RELATIONS.length - 1 }),
  tenant: fc.constantFrom(null, "1", "2", "zwölf", "tab\tnewline\n"),
  op: fc.constantFrom<ChangeOp[]>("I", "O", "U", "D", "M"),
  fields: fc.array(field, { minLength: 1, maxLength: 4 }),
});
const history = fc.array(fc.array(change, { minLength: 1, maxLength: 6 }), { minLength: 1, maxLength: 6 });

interface Wish {
  readonly relation: number;
  readonly tenant: string | null;
  readonly op: ChangeOp;
  readonly fields: readonly (string | null)[];
}

function tell(transactions: readonly (readonly Wish[])[]): Told[] {
  return transactions.flatMap((changes, at) => {
    const transaction = { lsn: (at + 1).toString(16).padStart(16, "0"), xid: String(7_000_000_000 + at), at: `${at}` };
    return changes.map(({ relation, tenant, op, fields }, seq) => ({
      tenant: op === "M" ? null : tenant,
      table: RELATIONS[relation]?.table.name ?? "",
      transaction,
      op,
      seq,
      row: fields.map(escapeField).join("\t"),
      movedTo: op === "M" ? (tenant ?? "1") : null,
    }));
  });
}

async function write(store: MemoryStore, told: readonly Told[]): Promise<WrittenSegment> {
  const writer = new SegmentWriter({ sourceId: SOURCE, epoch: 3, piece: 0, continued: false });
  for (const { tenant, table, transaction, op, seq, row, movedTo } of told) {
    const relation = RELATIONS.find((candidate) => candidate.table.name === table);
    if (relation === undefined) throw new Error(`no ${table}`);
    const moved = movedTo === null ? {} : { movedTo };
    writer.add({ tenant, relation, transaction, op, seq, row: Buffer.from(row), ...moved });
  }
  return writer.put(store, { continues: false });
}

async function readAll(store: MemoryStore): Promise<Told[]> {
  const told: Told[] = [];
  for await (const { key, bytes } of listSegments(store, SOURCE)) {
    const segment = await openSegment(store, key, bytes);
    for await (const { block, text } of readBlocks(store, segment, segment.index.blocks)) {
      for (const line of parseLines(text)) {
        const table = segment.index.relations[block.relation]?.table.name ?? "";
        const { op, seq, transaction } = line;
        told.push({
          tenant: block.tenant,
          table,
          transaction,
          op,
          seq,
          row: line.row.toString(),
          movedTo: line.tenant,
        });
      }
    }
  }
  return told;
}

/** The format keeps the order within a tenant and a table, and gives the order over all by (lsn, seq). */
function inOrder(told: readonly Told[]): Told[] {
  const rank = ({ tenant, table, transaction, seq }: Told): string =>
    `${tenant ?? ""}\0${table}\0${transaction.lsn}${String(seq).padStart(12, "0")}`;
  return told.toSorted((a, b) => (rank(a) < rank(b) ? -1 : 1));
}

describe("a segment", () => {
  test("gives back every line of every tenant and table, whatever they hold", async () => {
    await fc.assert(
      fc.asyncProperty(history, async (transactions) => {
        const store = new MemoryStore();
        const told = tell(transactions);
        const { index } = await write(store, told);
        expect(inOrder(await readAll(store))).toEqual(inOrder(told));
        expect(index.changes).toBe(told.filter(({ op }) => op !== "O").length);
        expect(index.transactions).toBe(transactions.length);
        expect(index.blocks.reduce((sum, block) => sum + block.rawBytes, 0)).toBe(index.rawBytes);
      }),
    );
  });

  test("opened for a tenant, it shows that tenant's blocks and nobody's, as they are in the whole index", async () => {
    await fc.assert(
      fc.asyncProperty(history, async (transactions) => {
        const store = new MemoryStore();
        const { key, bytes, index } = await write(store, tell(transactions));
        for (const tenantKey of new Set(index.blocks.flatMap(({ tenant }) => tenant ?? []))) {
          const opened = await openSegment(store, key, bytes, { tenantKey });
          const blocks = index.blocks.filter(({ tenant }) => tenant === null || tenant === tenantKey);
          expect(opened.index).toEqual({ ...index, blocks });
        }
      }),
      { numRuns: 30 },
    );
  });

  test("cuts what is more than a block into blocks that can be read by themselves", async () => {
    const store = new MemoryStore();
    const told = tell([
      Array.from({ length: 60_000 }, (_, n) => ({
        relation: 0,
        tenant: "1",
        op: "I",
        fields: [`${n}`, "x".repeat(40)],
      })),
    ]);
    const { index } = await write(store, told);
    expect(index.blocks.length).toBeGreaterThan(2);
    expect(index.blocks.every((block) => block.rawBytes <= 1_048_576)).toBe(true);
    expect((await readAll(store)).map(({ seq }) => seq)).toEqual(told.map(({ seq }) => seq));
  });

  test("keeps a tenant's blocks together, nobody's first", async () => {
    const transaction = { lsn: "0".repeat(16), xid: "1", at: "0" };
    const line = { transaction, op: "I" as const, row: "1", movedTo: null };
    const told = ["b", null, "a"].flatMap((tenant, n) => [
      { ...line, tenant, table: "tasks", seq: 2 * n },
      { ...line, tenant, table: "Über notes", seq: 2 * n + 1 },
    ]);
    const { index } = await write(new MemoryStore(), told);
    expect(index.blocks.map(({ tenant, relation }) => [tenant, relation])).toEqual([
      [null, 0],
      [null, 1],
      ["a", 0],
      ["a", 1],
      ["b", 0],
      ["b", 1],
    ]);
  });

  test("that was altered in any byte, or cut anywhere, is noticed", async () => {
    const store = new MemoryStore();
    const told = tell([[{ relation: 0, tenant: "1", op: "I", fields: ["a", null] }]]);
    const { key } = await write(store, told);
    const whole = Buffer.from(store.objects.get(key)?.bytes ?? []);
    for (let at = 0; at < whole.length; at += 1) {
      const altered = Buffer.from(whole);
      altered[at] = (altered[at] ?? 0) ^ 0x10;
      for (const bytes of [altered, whole.subarray(0, at)]) {
        store.objects.set(key, { bytes, modifiedAt: new Date() });
        await expect(readAll(store), `byte ${at}`).rejects.toMatchObject({ code: "change_log_damaged" });
      }
    }
  });

  test("that is gone is a damaged log", async () => {
    await expect(openSegment(new MemoryStore(), "sources/x", 100)).rejects.toBeInstanceOf(RecoveryError);
  });
});

describe("keys", () => {
  test("say what they name, in commit order", async () => {
    const store = new MemoryStore();
    const { key } = await write(store, tell([[{ relation: 0, tenant: "1", op: "D", fields: ["1"] }]]));
    expect(parseSegmentKey(key)).toEqual({
      sourceId: SOURCE,
      epoch: 3,
      first: "0000000000000001",
      last: "0000000000000001",
      piece: 0,
    });
    expect(parseSegmentKey(`${key}-gap`)).toBeNull();
  });
});

describe("fields", () => {
  test("come back as they were, and never look like an unknown value", () => {
    fc.assert(
      fc.property(field, (value) => {
        const text = escapeField(value);
        expect(unescapeField(text)).toBe(value);
        expect(text).not.toBe(UNKNOWN_FIELD);
        expect(rowFields(Buffer.from(`${text}\t${text}`))).toEqual([text, text]);
      }),
    );
  });
});
