import { createHash, randomUUID } from "node:crypto";
import { basename } from "node:path";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { openBackup } from "./backup-reader.ts";
import type { Manifest } from "./manifest.ts";
import { encodeManifest } from "./manifest-text.ts";
import { type BackupId, manifestKey } from "./object-keys.ts";
import { MemoryStore } from "./testing/memory-store.ts";
import { MemoryKeyRing, testKey } from "./testing/test-keys.ts";
import { BACKUP, partKeysOf, tableNamed, writeTestBackup } from "./testing/written-backup.ts";

const ROWS = Array.from({ length: 3_000 }, (_, n) => Buffer.from(`${n}\tsecret-of-row-${n}\t\\N`));
const LONG_ROW = Buffer.concat([Buffer.from("1\tsecret-of-a-long-row"), Buffer.alloc(3_000_000, "x")]);

interface World {
  readonly store: MemoryStore;
  readonly keys: MemoryKeyRing;
}

async function encrypted(id: BackupId, world: World): Promise<Manifest> {
  const key = await world.keys.current(id);
  return await writeTestBackup(world.store, { guests: ROWS, long: [LONG_ROW, LONG_ROW], none: [] }, [65_536], {
    key,
    id,
  });
}

async function verdict({ store, keys }: World, id: BackupId, expectManifestSha256?: string): Promise<string> {
  try {
    await (await openBackup(store, { ...id, keys, expectManifestSha256 })).verify();
    return "sound";
  } catch (error) {
    return Object(error).code ?? String(error);
  }
}

function newWorld(): World {
  return { store: new MemoryStore(), keys: new MemoryKeyRing() };
}

function bytesOf(store: MemoryStore, key: string): Buffer {
  const bytes = store.objects.get(key)?.bytes;
  if (bytes === undefined) throw new Error(`no ${key}`);
  return bytes;
}

function copyObject(store: MemoryStore, from: string, to: string): void {
  store.objects.set(to, { bytes: bytesOf(store, from), modifiedAt: new Date() });
}

test("rows come back as they were, a row longer than a block among them", async () => {
  const world = newWorld();
  await encrypted(BACKUP, world);
  const archive = await openBackup(world.store, { ...BACKUP, keys: world.keys });
  for (const [name, rows] of Object.entries({ guests: ROWS, long: [LONG_ROW, LONG_ROW], none: [] })) {
    const chunks: Buffer[] = [];
    for await (const chunk of archive.readTable(tableNamed(name))) chunks.push(Buffer.from(chunk));
    expect(Buffer.concat(chunks).equals(Buffer.concat(rows.flatMap((row) => [row, Buffer.from("\n")])))).toBe(true);
  }
  expect(await verdict(world, BACKUP)).toBe("sound");
});

test("any rows, cut into any chunks, come back", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ maxLength: 30 }), { maxLength: 60 }),
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 3 }),
      async (values, chunkSizes) => {
        const { store, keys } = newWorld();
        const rows = values.map((value) => Buffer.from(value.replaceAll(/[\n\r\\\t]/g, "_")));
        await writeTestBackup(store, { a: rows, b: rows }, chunkSizes, { key: await keys.current(BACKUP) });
        const archive = await openBackup(store, { ...BACKUP, keys });
        for (const name of ["a", "b"]) {
          const chunks: Buffer[] = [];
          for await (const chunk of archive.readTable(tableNamed(name))) chunks.push(Buffer.from(chunk));
          expect(Buffer.concat(chunks).toString()).toBe(rows.map((row) => `${row}\n`).join(""));
        }
      },
    ),
    { numRuns: 40 },
  );
});

test("no object shows a row, a name, a count or a fingerprint, not even inside a gzip member", async () => {
  const world = newWorld();
  const manifest = await encrypted(BACKUP, world);
  const fingerprints = manifest.tables
    .map(({ fingerprint }) => fingerprint.sum)
    .filter((sum) => sum !== "0000000000000000");
  const secrets = ["secret-of", "guests", "tenant_id", "acme", "CREATE TABLE", "app", ...fingerprints];
  expect(world.store.objects.size).toBeGreaterThan(1);
  for (const [key, { bytes }] of world.store.objects) {
    for (const shown of [bytes, ...gzipMembers(bytes), Buffer.from(bytes.toString("latin1"), "base64")]) {
      for (const secret of secrets) expect(shown.includes(secret), `${secret} in ${key}`).toBe(false);
    }
  }
  expect(Object.keys(JSON.parse(bytesOf(world.store, manifestKey(BACKUP)).toString()))).toEqual([
    "format",
    "version",
    "backupId",
    "tenantId",
    "writer",
    "encryption",
    "sealed",
    "digest",
  ]);
});

/** Anybody can compute a digest: it guards against accidents, not against forgery. */
function withDigest(fields: object): Buffer {
  const text = (digest: string): string => `${JSON.stringify({ ...fields, digest }, null, 2)}\n`;
  return Buffer.from(
    text(
      createHash("sha256")
        .update(text("0".repeat(64)))
        .digest("hex"),
    ),
  );
}

/** What a patient reader finds by trying to decompress at each place that looks like a member's beginning. */
function gzipMembers(bytes: Buffer): Buffer[] {
  const members: Buffer[] = [];
  for (let at = bytes.indexOf("1f8b08", 0, "hex"); at !== -1; at = bytes.indexOf("1f8b08", at + 1, "hex")) {
    try {
      members.push(gunzipSync(bytes.subarray(at), { finishFlush: 2 }));
    } catch {
      // It only looked like one.
    }
  }
  return members;
}

test("objects of another backup, tenant or attempt do not pass, whole or in part", async () => {
  const world = newWorld();
  const { store } = world;
  const others: BackupId[] = [
    { tenantId: BACKUP.tenantId, backupId: randomUUID() },
    { tenantId: randomUUID(), backupId: randomUUID() },
    { tenantId: randomUUID(), backupId: BACKUP.backupId },
  ];
  await encrypted(BACKUP, world);
  for (const other of others) await encrypted(other, world);
  const parts = partKeysOf(store);
  const intact = new Map([...store.objects].map(([key, object]) => [key, { ...object }]));
  const verdicts: string[] = [];
  const tried = async (change: () => void): Promise<void> => {
    change();
    verdicts.push(await verdict(world, BACKUP));
    for (const [key, object] of intact) store.objects.set(key, { ...object });
  };
  for (const other of others) {
    const theirs = partKeysOf(store, other);
    expect(theirs).toHaveLength(parts.length);
    for (const [number, part] of parts.entries()) await tried(() => copyObject(store, theirs[number] ?? "", part));
    await tried(() => copyObject(store, manifestKey(other), manifestKey(BACKUP)));
    await tried(() => {
      copyObject(store, manifestKey(other), manifestKey(BACKUP));
      for (const part of theirs) copyObject(store, part, manifestKey(BACKUP).replace("manifest.json", basename(part)));
    });
  }
  expect(new Set(verdicts)).toEqual(new Set(["archive_damaged"]));
  expect(await verdict(world, BACKUP)).toBe("sound");
});

test("parts of an earlier attempt do not pass for the later one's; all of it passes only where nobody knows the manifest", async () => {
  const world = newWorld();
  const { store } = world;
  const earlier = await encrypted(BACKUP, world);
  const earlierManifest = bytesOf(store, manifestKey(BACKUP));
  const later = await encrypted(BACKUP, world);
  const [earlierParts, laterParts] = [earlier, later].map(({ writer }) => partKeysOf(store, BACKUP, writer));
  expect([earlierParts?.length, laterParts?.length]).toEqual([later.parts.length, later.parts.length]);
  const { manifestSha256 } = await openBackup(store, { ...BACKUP, keys: world.keys });
  for (const [number, key] of (laterParts ?? []).entries()) {
    const bytes = bytesOf(store, key);
    copyObject(store, earlierParts?.[number] ?? "", key);
    expect(await verdict(world, BACKUP), key).toBe("archive_damaged");
    store.objects.set(key, { bytes, modifiedAt: new Date() });
  }
  expect(await verdict(world, BACKUP, manifestSha256)).toBe("sound");
  store.objects.set(manifestKey(BACKUP), { bytes: earlierManifest, modifiedAt: new Date() });
  expect(await verdict(world, BACKUP)).toBe("sound");
  expect(await verdict(world, BACKUP, manifestSha256)).toBe("archive_damaged");
});

test("a manifest in clear that claims to be encrypted, and one whose head names another key, are refused", async () => {
  const world = newWorld();
  const manifest = await encrypted(BACKUP, world);
  const head = JSON.parse(bytesOf(world.store, manifestKey(BACKUP)).toString());
  const judged = async (bytes: Buffer): Promise<string> => {
    world.store.objects.set(manifestKey(BACKUP), { bytes, modifiedAt: new Date() });
    return await verdict(world, BACKUP);
  };
  expect(await judged(encodeManifest(manifest))).toBe("archive_damaged");
  const { encryption } = head;
  expect(await judged(withDigest({ ...head, encryption: { ...encryption, keyId: randomUUID() } }))).toBe("key_missing");
  expect(await judged(withDigest({ ...head, encryption: { ...encryption, writer: "0".repeat(32) } }))).toBe(
    "archive_damaged",
  );
  expect(await judged(withDigest({ ...head, writer: "0".repeat(32) }))).toBe("archive_damaged");
  expect(await judged(withDigest(head))).toBe("sound");
});

test("without a key ring, with a destroyed key, and with another key of the same name", async () => {
  const world = newWorld();
  await encrypted(BACKUP, world);
  await expect(openBackup(world.store, BACKUP)).rejects.toMatchObject({
    code: "key_missing",
    retryable: false,
    context: { tenantId: BACKUP.tenantId },
  });
  const key = await world.keys.current(BACKUP);
  world.keys.keys.delete(BACKUP.tenantId);
  expect(await verdict(world, BACKUP)).toBe("key_missing");
  world.keys.keys.set(BACKUP.tenantId, { ...testKey(), id: key.id });
  expect(await verdict(world, BACKUP)).toBe("archive_damaged");
});
