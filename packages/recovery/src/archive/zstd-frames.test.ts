import { constants, createZstdCompress, zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { expect, test } from "vitest";
import { cutFrames, type FramePiece, NotZstd } from "./zstd-frames.ts";

const frames = fc.array(
  fc.record({ bytes: fc.constantFrom(0, 1, 255, 256, 70_000, 300_000), checksum: fc.boolean(), random: fc.boolean() }),
  { minLength: 1, maxLength: 5 },
);

function pack({ bytes, checksum, random }: { bytes: number; checksum: boolean; random: boolean }): Buffer {
  const text = Buffer.alloc(bytes, random ? undefined : "row ");
  if (random) for (let at = 0, x = 1; at < bytes; at += 1) text[at] = x = (x * 75 + 74) % 65_537;
  return zstdCompressSync(text, { params: { [constants.ZSTD_c_checksumFlag]: Number(checksum) } });
}

async function cut(chunks: Iterable<Uint8Array>): Promise<FramePiece[]> {
  async function* stream(): AsyncGenerator<Uint8Array> {
    yield* chunks;
  }
  return await gathered(cutFrames(stream()));
}

function* inChunksOf(stream: Buffer, size: number): Generator<Buffer> {
  for (let at = 0; at < stream.length; at += size) yield stream.subarray(at, at + size);
}

test("frames are cut where they end, however the stream arrives", async () => {
  await fc.assert(
    fc.asyncProperty(frames, fc.integer({ min: 1, max: 100_000 }), async (all, size) => {
      const packed = all.map(pack);
      const stream = Buffer.concat(packed);
      const pieces = await cut(inChunksOf(stream, stream.length / size > 50_000 ? 997 : size));
      expect(Buffer.concat(pieces.map(({ bytes }) => bytes)).equals(stream)).toBe(true);
      const sizes: number[] = [];
      let begun = 0;
      for (const { bytes, endsFrame } of pieces) {
        begun += bytes.length;
        if (endsFrame) sizes.push(begun);
        if (endsFrame) begun = 0;
      }
      expect(sizes).toEqual(packed.map((frame) => frame.length));
      const contents = pieces.filter(({ endsFrame }) => endsFrame).map(({ contentBytes }) => contentBytes);
      expect(contents).toEqual(all.map(({ bytes }) => bytes));
    }),
  );
});

test("a frame that was streamed does not say its size", async () => {
  const stream = createZstdCompress();
  stream.end(Buffer.alloc(100_000, "x"));
  const frame = Buffer.concat(await gathered<Buffer>(stream));
  expect((await cut([frame])).at(-1)).toMatchObject({ endsFrame: true, contentBytes: null });
});

test("anything else than whole frames is refused", async () => {
  const frame = pack({ bytes: 300_000, checksum: true, random: true });
  for (const cutAt of [1, 4, 9, 100, frame.length - 1]) {
    await expect(cut([frame.subarray(0, cutAt)])).rejects.toThrow(NotZstd);
  }
  await expect(cut([frame, Buffer.from("no frame at all")])).rejects.toThrow(NotZstd);
});

async function gathered<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of stream) all.push(one);
  return all;
}
