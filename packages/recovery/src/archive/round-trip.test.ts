import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openBackup } from "./backup-reader.ts";
import { BLOCK_BYTES } from "./row-engine.ts";
import { MemoryStore } from "./testing/memory-store.ts";
import { BACKUP, partKeysOf, tableNamed, writeTestBackup } from "./testing/written-backup.ts";

const text = (rows: readonly Uint8Array[]): Buffer => Buffer.concat(rows.flatMap((row) => [row, Buffer.from("\n")]));

/** Rows from empty to longer than a block, described by length and byte, so that shrinking stays fast. */
const rowsOf = (longest: number, most: number) =>
  fc
    .array(fc.tuple(fc.nat({ max: longest }), fc.integer({ min: 0x20, max: 0xff })), { maxLength: most })
    .map((all) => all.map(([length, byte]) => Buffer.alloc(length, byte)));
const compression = fc.constantFrom("gzip" as const, "zstd" as const);
const tables = fc.record({
  small: rowsOf(100, 40),
  empty: rowsOf(0, 3),
  wide: rowsOf(300_000, 5),
  huge: rowsOf(BLOCK_BYTES + 200_000, 1),
});
const chunkSizes = fc.array(fc.integer({ min: 1, max: 200_000 }), { minLength: 1, maxLength: 3 }).map((sizes) => {
  // A chunk of a few bytes for megabytes of rows would test patience only.
  return sizes.some((size) => size > 30_000) ? sizes : [...sizes, 65_536];
});

test("rows → blocks → parts → reader gives the same rows, whatever their sizes and however they arrive", async () => {
  await fc.assert(
    fc.asyncProperty(tables, chunkSizes, compression, async (all, sizes, packed) => {
      const store = new MemoryStore();
      await writeTestBackup(store, all, sizes, { compression: packed });
      const archive = await openBackup(store, BACKUP);
      for (const [name, rows] of Object.entries(all)) {
        const chunks: Buffer[] = [];
        for await (const chunk of archive.readTable(tableNamed(name))) chunks.push(Buffer.from(chunk));
        expect(Buffer.compare(Buffer.concat(chunks), text(rows)), name).toBe(0);
        if (rows.every((row) => row.length < BLOCK_BYTES))
          expect(chunks.every((chunk) => chunk.at(-1) === 0x0a)).toBe(true);
      }
      await archive.verify();
    }),
    { numRuns: 30 },
  );
});

test("a part is one gzip stream of its tables, block after block", async () => {
  const store = new MemoryStore();
  const manifest = await writeTestBackup(store, {
    a: [Buffer.from("1\tx")],
    b: [Buffer.from("2\ty"), Buffer.from("3")],
  });
  const part = store.objects.get(partKeysOf(store)[0] ?? "")?.bytes ?? Buffer.alloc(0);
  expect(gunzipSync(part).toString()).toBe("1\tx\n2\ty\n3\n");
  expect(manifest.parts).toHaveLength(1);
  const second = manifest.tables[1]?.ranges[0];
  expect(gunzipSync(part.subarray(second?.offset)).toString()).toBe("2\ty\n3\n");
});

test("blocks hold at most 1 MiB of whole rows, and a longer row alone", async () => {
  const store = new MemoryStore();
  const rows = [Buffer.alloc(700_000, "a"), Buffer.alloc(700_000, "b"), Buffer.alloc(3_000_000, "c"), Buffer.from("d")];
  const manifest = await writeTestBackup(store, { t: rows });
  const part = store.objects.get(partKeysOf(store)[0] ?? "")?.bytes ?? Buffer.alloc(0);
  expect(memberSizes(part)).toEqual([700_001, 700_001, 3_000_001, 2]);
  expect(manifest.tables[0]?.rawBytes).toBe(4_400_005);
});

test("no rows, no part", async () => {
  const store = new MemoryStore();
  const manifest = await writeTestBackup(store, { nothing: [] });
  expect([manifest.parts, manifest.tables[0]?.ranges, store.objects.size]).toEqual([[], [], 1]);
  await (await openBackup(store, BACKUP)).verify();
});

/** Uncompressed sizes of a stream's gzip members: each ends with its size, where the next one begins with the magic number. */
function memberSizes(stream: Buffer): number[] {
  const sizes: number[] = [];
  for (let start = 0; start < stream.length; ) {
    let end = stream.indexOf(Buffer.from([0x1f, 0x8b, 0x08]), start + 1);
    for (; end !== -1; end = stream.indexOf(Buffer.from([0x1f, 0x8b, 0x08]), end + 1)) {
      if (isWhole(stream.subarray(start, end))) break;
    }
    if (end === -1) end = stream.length;
    sizes.push(stream.readUInt32LE(end - 4));
    start = end;
  }
  return sizes;
}

function isWhole(member: Buffer): boolean {
  try {
    gunzipSync(member);
    return true;
  } catch {
    return false;
  }
}
