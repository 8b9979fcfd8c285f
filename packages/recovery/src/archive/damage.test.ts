import fc from "fast-check";
import { expect, test } from "vitest";
import { openBackup } from "./backup-reader.ts";
import type { Compression } from "./block.ts";
import type { KeyRing } from "./key-ring.ts";
import type { Manifest } from "./manifest.ts";
import { encodeManifest } from "./manifest-text.ts";
import { manifestKey } from "./object-keys.ts";
import type { SealKey } from "./sealed-block.ts";
import { MemoryStore } from "./testing/memory-store.ts";
import { MemoryKeyRing } from "./testing/test-keys.ts";
import { BACKUP, partKeysOf, tableNamed, writeTestBackup } from "./testing/written-backup.ts";

const DAMAGE_CODES = ["archive_damaged", "manifest_unsupported"];

async function intact(
  key: SealKey | null = null,
  compression: Compression = "gzip",
): Promise<{ store: MemoryStore; manifest: Manifest }> {
  const store = new MemoryStore();
  const rows = Array.from({ length: 6_000 }, (_, n) => Buffer.from(`${n}\trow number ${n * 7919} of the table\t\\N`));
  const manifest = await writeTestBackup(
    store,
    { a: rows, b: rows.slice(0, 100), c: rows.slice(500, 4_000) },
    [65_536],
    { key, compression },
  );
  return { store, manifest };
}

async function verdict(store: MemoryStore, keys?: KeyRing): Promise<string> {
  try {
    await (await openBackup(store, { ...BACKUP, keys })).verify();
    return "sound";
  } catch (error) {
    return Object(error).code ?? String(error);
  }
}

/** Damages one object, asks for the verdict, and repairs it. */
async function verdictAfter(
  store: MemoryStore,
  key: string,
  damage: (bytes: Buffer) => Buffer,
  keys?: KeyRing,
): Promise<string> {
  const object = store.objects.get(key);
  if (object === undefined) throw new Error(`no ${key}`);
  const { bytes } = object;
  object.bytes = damage(Buffer.from(bytes));
  try {
    return await verdict(store, keys);
  } finally {
    object.bytes = bytes;
  }
}

test.each(["gzip", "zstd", "encrypted"] as const)(
  "one flipped bit anywhere, a cut anywhere, and bytes added are detected: %s",
  async (how) => {
    const keys = new MemoryKeyRing();
    const { store } = await intact(
      how === "encrypted" ? await keys.current(BACKUP) : null,
      how === "zstd" ? "zstd" : "gzip",
    );
    expect(await verdict(store, keys)).toBe("sound");
    const objects = [...partKeysOf(store), manifestKey(BACKUP)];
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...objects),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        fc.integer({ min: 0, max: 7 }),
        async (key, where, bit) => {
          const at = (bytes: Buffer) => Math.floor(where * bytes.length);
          const flipped = await verdictAfter(
            store,
            key,
            (bytes) => {
              bytes[at(bytes)] = (bytes[at(bytes)] ?? 0) ^ (1 << bit);
              return bytes;
            },
            keys,
          );
          expect(DAMAGE_CODES).toContain(flipped);
          expect(await verdictAfter(store, key, (bytes) => bytes.subarray(0, at(bytes)), keys)).toBe("archive_damaged");
          expect(
            await verdictAfter(store, key, (bytes) => Buffer.concat([bytes, bytes.subarray(at(bytes))]), keys),
          ).toBe("archive_damaged");
        },
      ),
      { numRuns: 50 },
    );
  },
);

test("a flipped bit that no decompressor looks at is detected by the part's SHA-256", async () => {
  const { store } = await intact();
  // RFC 1952: byte 9 of a member names the operating system it was made on.
  const [part = ""] = partKeysOf(store);
  const verdictOfFlip = verdictAfter(store, part, (bytes) => {
    bytes[9] = (bytes[9] ?? 0) ^ 1;
    return bytes;
  });
  expect(await verdictOfFlip).toBe("archive_damaged");
});

test("dropped, doubled and exchanged blocks are detected, even where the manifest's part sums were made to fit", async () => {
  const { store, manifest } = await intact();
  const [a, , c] = manifest.tables;
  if (a === undefined || c === undefined) throw new Error("three tables were written");
  // The ranges of two tables exchanged: every gzip member is whole, the part is unchanged, only fingerprints can tell.
  const swapped = { ...manifest, tables: manifest.tables.map((table) => ({ ...table })) };
  const [first, , third] = swapped.tables;
  if (first !== undefined && third !== undefined) {
    Object.assign(first, {
      ranges: c.ranges,
      rawBytes: c.rawBytes,
      fingerprint: { ...a.fingerprint, rows: c.fingerprint.rows },
    });
    Object.assign(third, {
      ranges: a.ranges,
      rawBytes: a.rawBytes,
      fingerprint: { ...c.fingerprint, rows: a.fingerprint.rows },
    });
  }
  expect(await verdictAfter(store, manifestKey(BACKUP), () => encodeManifest(swapped))).toBe("archive_damaged");
});

test("a missing part, a missing manifest, another backup's manifest, a manifest nobody expected", async () => {
  const { store, manifest } = await intact();
  const [key = ""] = partKeysOf(store);
  const part = store.objects.get(key);
  store.objects.delete(key);
  expect(await verdict(store)).toBe("archive_damaged");
  if (part !== undefined) store.objects.set(key, part);

  const other = { ...manifest, backupId: "44444444-4444-4444-8444-444444444444" };
  expect(await verdictAfter(store, manifestKey(BACKUP), () => encodeManifest(other))).toBe("archive_damaged");
  const expectManifestSha256 = "0".repeat(64);
  await expect(openBackup(store, { ...BACKUP, expectManifestSha256 })).rejects.toMatchObject({
    code: "archive_damaged",
  });

  store.objects.delete(manifestKey(BACKUP));
  expect(await verdict(store)).toBe("archive_damaged");
});

test("other versions are refused by name; figures that contradict each other are invalid", async () => {
  const { store, manifest } = await intact();
  const key = manifestKey(BACKUP);
  const next = Buffer.from(`${JSON.stringify({ format: "rowback", version: 2, anything: "else" })}\n`);
  expect(await verdictAfter(store, key, () => next)).toBe("manifest_unsupported");
  const gap = { ...manifest, parts: manifest.parts.map((part) => ({ ...part, bytes: part.bytes + 1 })) };
  expect(await verdictAfter(store, key, () => encodeManifest(gap))).toBe("manifest_invalid");
  const noTables = { ...manifest, tables: [] };
  expect(await verdictAfter(store, key, () => encodeManifest(noTables))).toBe("manifest_invalid");
});

test("a table that is not in the backup is named", async () => {
  const { store } = await intact();
  const archive = await openBackup(store, BACKUP);
  const reading = async () => {
    for await (const _chunk of archive.readTable(tableNamed("nowhere"))) throw new Error("rows of nothing");
  };
  await expect(reading()).rejects.toMatchObject({ code: "unknown_table", context: { table: "app.nowhere" } });
});
