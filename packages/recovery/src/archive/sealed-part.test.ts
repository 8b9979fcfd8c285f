import { randomBytes, randomUUID } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type BackupSeal, newBackupSeal } from "./backup-seal.ts";
import { PartWriter } from "./part-writer.ts";
import { END_FRAME_BYTES, openFrames, SealedPartWriter } from "./sealed-part.ts";
import { MemoryStore } from "./testing/memory-store.ts";
import { testKey } from "./testing/test-keys.ts";

const FRAMES = 8;

/** A part's frames as they are stored, end frame last. */
async function writeFrames(seal: BackupSeal, part: number): Promise<Buffer[]> {
  const store = new MemoryStore();
  const writer = new SealedPartWriter(new PartWriter(store, "part", new AbortController().signal), seal, part);
  const ends: number[] = [];
  // All of one length, so that nothing but the tags can tell one from another.
  for (let frame = 0; frame < FRAMES; frame += 1) {
    await writer.write(randomBytes(100));
    ends.push(writer.bytes);
  }
  const { bytes } = await writer.finish();
  const stored = store.objects.get("part")?.bytes ?? Buffer.alloc(0);
  return [...ends, bytes].map((end, at) => stored.subarray(at === 0 ? 0 : ends[at - 1], end));
}

async function* inPieces(bytes: Buffer, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** What was handed out, and how it ended. */
async function read(
  seal: BackupSeal,
  part: number,
  bytes: Buffer,
  size = 61,
): Promise<{ opened: Buffer[]; end: string }> {
  const opened: Buffer[] = [];
  try {
    for await (const frame of openFrames(seal, part, inPieces(bytes, size))) opened.push(frame.bytes);
    return { opened, end: "sound" };
  } catch (error) {
    return { opened, end: Object(error).code ?? String(error) };
  }
}

const key = testKey();
const tenantId = randomUUID();
const id = { tenantId, backupId: randomUUID() };
const newWriter = (): string => randomBytes(16).toString("hex");
const seal = newBackupSeal(key, id, newWriter());
const own = await writeFrames(seal, 0);
/** Where an attacker may take frames from. */
const foreign: Record<string, Buffer[]> = {
  "another part": await writeFrames(seal, 1),
  "another attempt of the backup": await writeFrames(newBackupSeal(key, id, newWriter()), 0),
  "another backup of the tenant": await writeFrames(
    newBackupSeal(key, { tenantId, backupId: randomUUID() }, newWriter()),
    0,
  ),
  "another backup with the same writer": await writeFrames({ ...seal, id: { tenantId, backupId: randomUUID() } }, 0),
  "another tenant with the same key": await writeFrames({ ...seal, id: { ...id, tenantId: randomUUID() } }, 0),
  "another tenant": await writeFrames(
    newBackupSeal(testKey(), { tenantId: randomUUID(), backupId: randomUUID() }, newWriter()),
    0,
  ),
};

const Position = fc.nat({ max: FRAMES });
const Damage = fc.oneof(
  fc.record({ kind: fc.constant("cut"), at: Position, to: Position }),
  fc.record({ kind: fc.constant("swap"), at: Position, to: Position }),
  fc.record({ kind: fc.constant("move"), at: Position, to: Position }),
  fc.record({ kind: fc.constant("double"), at: Position, to: Position }),
  fc.record({ kind: fc.constant("truncate"), at: Position, to: Position }),
  ...Object.keys(foreign).map((kind) => fc.record({ kind: fc.constant(kind), at: Position, to: Position })),
);

function damage(frames: readonly Buffer[], { kind, at, to }: { kind: string; at: number; to: number }): Buffer[] {
  const after = [...frames];
  const here = frames.slice(at, at + 1);
  const there = frames.slice(to, to + 1);
  switch (kind) {
    case "cut":
      after.splice(Math.min(at, to), Math.abs(at - to) + 1);
      return after;
    case "swap":
      after.splice(at, 1, ...there);
      after.splice(to, 1, ...here);
      return after;
    case "move":
      after.splice(at, 1);
      after.splice(to, 0, ...here);
      return after;
    case "double":
      after.splice(to, 0, ...here);
      return after;
    case "truncate":
      return after.slice(0, at);
    default:
      after.splice(to, 1, ...(foreign[kind] ?? []).slice(at, at + 1));
      return after;
  }
}

test("a part opens as it was written, in pieces of any size", async () => {
  for (const size of [1, 7, 61, 152, 153, 100_000]) {
    const { opened, end } = await read(seal, 0, Buffer.concat(own), size);
    expect(end).toBe("sound");
    expect(opened).toHaveLength(FRAMES + 1);
    expect(opened.at(-1)).toHaveLength(0);
  }
  expect(own.at(-1)).toHaveLength(END_FRAME_BYTES);
});

test("frames that were cut, swapped, moved, doubled, replayed or truncated are detected, and nothing behind them is handed out", async () => {
  const intact = await read(seal, 0, Buffer.concat(own));
  let damages = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(Damage, { minLength: 1, maxLength: 3 }), async (steps) => {
      const after = Buffer.concat(steps.reduce(damage, own));
      if (after.equals(Buffer.concat(own))) return;
      damages += 1;
      const { opened, end } = await read(seal, 0, after);
      expect(end).toBe("archive_damaged");
      expect(opened).toEqual(intact.opened.slice(0, opened.length));
    }),
    { numRuns: 1_000 },
  );
  expect(damages).toBeGreaterThan(500);
});

test("every single replay is detected: each foreign frame at each place", async () => {
  for (const [kind, frames] of Object.entries(foreign)) {
    for (let at = 0; at < frames.length; at += 1) {
      for (let to = 0; to < own.length; to += 1) {
        const { end } = await read(seal, 0, Buffer.concat(damage(own, { kind, at, to })));
        expect(end, `${kind}: ${at} at ${to}`).toBe("archive_damaged");
      }
    }
    expect((await read(seal, 0, Buffer.concat(frames))).end, kind).toBe("archive_damaged");
  }
});

test("truncation at every byte, boundaries of frames among them, is detected", async () => {
  const whole = Buffer.concat(own);
  for (let bytes = 0; bytes < whole.length; bytes += 1) {
    expect((await read(seal, 0, whole.subarray(0, bytes))).end, `${bytes} bytes`).toBe("archive_damaged");
  }
  expect((await read(seal, 0, Buffer.concat([whole, ...own.slice(-1)]))).end).toBe("archive_damaged");
});

test("a length that promises gigabytes is refused before they are awaited", async () => {
  const promise = Buffer.from([0xff, 0xff, 0xff, 0xff, 0]);
  async function* endless(): AsyncGenerator<Uint8Array> {
    yield promise;
    throw new Error("it went on reading");
  }
  await expect(openFrames(seal, 0, endless()).next()).rejects.toMatchObject({ code: "archive_damaged" });
});
