import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MemoryStore } from "../../archive/testing/memory-store.ts";
import { type ChangeOp, parseLines } from "../log/change-lines.ts";
import type { Relation } from "../log/segment-index.ts";
import { openSegment, readBlocks } from "../log/segment-reader.ts";
import { SegmentWriter, type WrittenSegment } from "../log/segment-writer.ts";
import { mergeSegments } from "./merge.ts";
import { MOST_MERGED_BYTES, planMerge } from "./plan.ts";

const WHOLE = { continued: false, continues: false };
const SOURCE = "5b0e1a9e-6d0b-4c39-9a2f-0d6a3f4f9d11";

describe("what is merged", () => {
  test("are neighbours that fit into one segment, never a part of a transaction, until little is left to merge", () => {
    const sizes = fc.array(
      fc.record({ rawBytes: fc.integer({ min: 1, max: MOST_MERGED_BYTES }), continues: fc.boolean() }),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(sizes, (drawn) => {
        let log = drawn.map((segment, at) => ({ ...segment, continued: drawn[at - 1]?.continues ?? false }));
        const total = (of: typeof log): number => of.reduce((sum, { rawBytes }) => sum + rawBytes, 0);
        const before = total(log);
        for (let group = planMerge(log); group !== null; group = planMerge(log)) {
          const [first] = group;
          const at = log.findIndex((segment) => segment === first);
          expect(log.slice(at, at + group.length)).toEqual(group);
          expect(group.every((segment) => !segment.continued && !segment.continues)).toBe(true);
          const merged = { rawBytes: total([...group]), ...WHOLE };
          expect(merged.rawBytes).toBeLessThanOrEqual(MOST_MERGED_BYTES);
          log = [...log.slice(0, at), merged, ...log.slice(at + group.length)];
        }
        expect(total(log)).toBe(before);
      }),
    );
  });

  test("ten thousand small ones become a few large ones, each line rewritten a handful of times", () => {
    let log: { rawBytes: number; continued: boolean; continues: boolean }[] = [];
    let rewritten = 0;
    for (let n = 0; n < 10_000; n += 1) {
      log.push({ rawBytes: 10_000, ...WHOLE });
      for (let group = planMerge(log); group !== null; group = planMerge(log)) {
        const [first] = group;
        const at = log.findIndex((segment) => segment === first);
        const rawBytes = group.reduce((sum, segment) => sum + segment.rawBytes, 0);
        rewritten += rawBytes;
        log = [...log.slice(0, at), { rawBytes, ...WHOLE }, ...log.slice(at + group.length)];
      }
    }
    expect(log.length).toBeLessThan(40);
    expect(rewritten / (10_000 * 10_000)).toBeLessThan(8);
  });
});

describe("a merged segment", () => {
  const relation = (name: string): Relation => ({
    table: { schema: "public", name },
    scope: { kind: "direct", column: "tenant_id" },
    identity: "full",
    columns: [{ name: "id", type: "bigint", attnum: 1, key: true, missing: null }],
  });
  const line = fc.record({
    tenant: fc.constantFrom(null, "a", "b"),
    table: fc.constantFrom("orders", "lines"),
    op: fc.constantFrom<ChangeOp[]>("I", "U", "D", "M"),
    row: fc.string({ unit: "grapheme-ascii", maxLength: 5 }).map((text) => text.replaceAll("\t", "")),
  });
  const segments = fc.array(fc.array(fc.array(line, { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 3 }), {
    minLength: 2,
    maxLength: 5,
  });

  test("lists a definition again that comes back after another: a reader takes them one after the other", async () => {
    const store = new MemoryStore();
    const [one, two] = [relation("orders"), { ...relation("orders"), identity: "nothing" as const }];
    const written: WrittenSegment[] = [];
    for (const [at, defined] of [one, one, two, one].entries()) {
      const lsn = (at + 1).toString(16).padStart(16, "0");
      const writer = new SegmentWriter({ sourceId: SOURCE, epoch: 1, piece: 0, continued: false });
      const transaction = { lsn, xid: `${at + 1}`, at: `${at}` };
      writer.add({ tenant: "a", relation: { ...defined }, transaction, op: "I", seq: 0, row: Buffer.from(`${at}`) });
      written.push(await writer.put(store, { continues: false }));
    }
    const places = written.map(({ key, bytes }) => ({ objectKey: key, storedBytes: bytes }));
    const { signal } = new AbortController();
    const merged = await mergeSegments(store, { sourceId: SOURCE, epoch: 1, segments: places, signal });
    expect(merged.index.relations).toEqual([one, two, one]);
    expect(merged.index.blocks.map((block) => [block.relation, block.changes])).toEqual([
      [0, 2],
      [1, 1],
      [2, 1],
    ]);
  });

  test("holds every line of those it was made of, in the same order for each tenant and table", async () => {
    await fc.assert(
      fc.asyncProperty(segments, async (drawn) => {
        const store = new MemoryStore();
        const written: WrittenSegment[] = [];
        let lsn = 1;
        for (const transactions of drawn) {
          const writer = new SegmentWriter({ sourceId: SOURCE, epoch: 1, piece: 0, continued: false });
          // Relations are other objects in each segment, as after a restart.
          const relations = new Map(["orders", "lines"].map((name) => [name, relation(name)]));
          for (const lines of transactions) {
            const transaction = { lsn: (lsn++).toString(16).padStart(16, "0"), xid: `${700 + lsn}`, at: `${lsn}` };
            lines.forEach(({ tenant, table, op, row }, seq) => {
              const of = relations.get(table);
              if (of === undefined) throw new Error(table);
              const change = {
                tenant: op === "M" ? null : tenant,
                relation: of,
                transaction,
                seq,
                row: Buffer.from(row),
              };
              if (op === "U") writer.add({ ...change, op: "O" });
              writer.add(op === "M" ? { ...change, op, movedTo: tenant ?? "" } : { ...change, op });
            });
          }
          written.push(await writer.put(store, { continues: false }));
        }
        const asked = written.map(({ key, bytes }) => ({ objectKey: key, storedBytes: bytes }));
        const { signal } = new AbortController();
        const merged = await mergeSegments(store, { sourceId: SOURCE, epoch: 1, segments: asked, signal });
        expect(await told(store, [merged])).toEqual(await told(store, written));
        expect(merged.index).toMatchObject({
          first: written[0]?.index.first,
          last: written.at(-1)?.index.last,
          transactions: written.reduce((sum, { index }) => sum + index.transactions, 0),
          changes: written.reduce((sum, { index }) => sum + index.changes, 0),
        });
        expect(merged.index.relations.length).toBeLessThanOrEqual(2);
        expect(written.map(({ key }) => store.objects.has(key))).toEqual(written.map(() => true));
      }),
      { numRuns: 50 },
    );
  });

  async function told(store: MemoryStore, of: readonly WrittenSegment[]): Promise<Map<string, string[]>> {
    const lines = new Map<string, string[]>();
    for (const { key, bytes } of of) {
      const segment = await openSegment(store, key, bytes);
      for await (const { block, text } of readBlocks(store, segment, segment.index.blocks)) {
        const place = `${block.tenant} ${segment.index.relations[block.relation]?.table.name}`;
        const known = lines.get(place) ?? [];
        for (const { transaction, op, seq, tenant, row } of parseLines(text)) {
          known.push([transaction.lsn, transaction.xid, seq, op, tenant, row.toString()].join("|"));
        }
        lines.set(place, known);
      }
    }
    return new Map([...lines].toSorted());
  }
});
