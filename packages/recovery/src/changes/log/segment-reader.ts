import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { type ObjectStore, StorageError } from "@rowback/storage";
import { RecoveryError } from "../../errors.ts";
import { type SegmentBlock, SegmentIndex, TRAILER_BYTES, TRAILER_MAGIC } from "./segment-index.ts";
import { changesPrefix, parseSegmentKey, type SegmentName } from "./segment-keys.ts";

const unzip = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(gunzip);

/** Read at first from a segment's end: mostly trailer and index together, in one request. */
const TAIL_BYTES = 65_536;
/** Blocks that follow one another are read in one request up to here. */
const MOST_READ_BYTES = 8 * 1_048_576;
/** No honest index unpacks to more; a damaged one must not fill the memory. */
const MOST_INDEX_BYTES = 512 * 1_048_576;

export interface CallOptions {
  readonly signal?: AbortSignal | undefined;
}

/** A segment that is there. */
export interface StoredSegment extends SegmentName {
  readonly key: string;
  /** Stored bytes. */
  readonly bytes: number;
}

/** An opened segment. Holds no resource: nothing to close. */
export interface Segment {
  readonly key: string;
  readonly index: SegmentIndex;
}

/** The text of one block: lines, for `parseLines`. */
export interface ReadBlock {
  readonly block: SegmentBlock;
  readonly text: Buffer;
}

/** Segments of a source in key order, which is commit order within an epoch; for a reader that has only the objects. */
export async function* listSegments(
  store: ObjectStore,
  sourceId: string,
  options: CallOptions & { readonly epoch?: number } = {},
): AsyncGenerator<StoredSegment> {
  for await (const { key, bytes } of store.list(changesPrefix(sourceId, options.epoch), { signal: options.signal })) {
    const name = parseSegmentKey(key);
    if (name !== null) yield { ...name, key, bytes };
  }
}

/**
 * Reads and checks a segment's index; with `tenantKey` only the blocks of that tenant and of nobody, so that a thousand others cost little.
 * @param bytes the stored size, from a listing or the control database
 * @throws RecoveryError `change_log_damaged`; StorageError; the signal's reason
 */
export async function openSegment(
  store: ObjectStore,
  key: string,
  bytes: number,
  options: CallOptions & { readonly tenantKey?: string | undefined } = {},
): Promise<Segment> {
  const tail = await readRange(store, key, Math.max(0, bytes - TAIL_BYTES), Math.min(bytes, TAIL_BYTES), options);
  const trailer = tail.subarray(-TRAILER_BYTES);
  if (tail.length < TRAILER_BYTES || trailer.toString("latin1", 0, 8) !== TRAILER_MAGIC) {
    throw damaged(key, "its end is missing");
  }
  const packedBytes = Number(trailer.readBigUInt64BE(8));
  if (packedBytes + TRAILER_BYTES > bytes) throw damaged(key, "its index can't be where it says");
  const offset = bytes - TRAILER_BYTES - packedBytes;
  const packed =
    packedBytes + TRAILER_BYTES <= tail.length
      ? tail.subarray(tail.length - TRAILER_BYTES - packedBytes, -TRAILER_BYTES)
      : await readRange(store, key, offset, packedBytes, options);
  if (!createHash("sha256").update(packed).digest().equals(trailer.subarray(16))) {
    throw damaged(key, "its index was altered");
  }
  return { key, index: await decodeIndex(key, packed, options.tenantKey) };
}

/**
 * The text of these blocks of one segment, in the order given; neighbours are read together.
 * @throws RecoveryError `change_log_damaged` when a block is not what the index says; StorageError; the signal's reason
 */
export async function* readBlocks(
  store: ObjectStore,
  segment: Pick<Segment, "key">,
  blocks: readonly SegmentBlock[],
  options: CallOptions = {},
): AsyncGenerator<ReadBlock> {
  for (const run of runsOf(blocks)) {
    const [begin, end] = [run[0]?.offset ?? 0, run.reduce((at, block) => Math.max(at, block.offset + block.bytes), 0)];
    const stored = await readRange(store, segment.key, begin, end - begin, options);
    for (const block of run) {
      const bytes = stored.subarray(block.offset - begin, block.offset - begin + block.bytes);
      yield { block, text: await unpack(segment.key, block, bytes) };
    }
  }
}

/** Blocks that stand one behind the other, up to what is read at once. */
function* runsOf(blocks: readonly SegmentBlock[]): Generator<SegmentBlock[]> {
  let run: SegmentBlock[] = [];
  let bytes = 0;
  for (const block of blocks) {
    const last = run.at(-1);
    const follows = last !== undefined && last.offset + last.bytes === block.offset;
    if (run.length > 0 && (!follows || bytes + block.bytes > MOST_READ_BYTES)) {
      yield run;
      run = [];
      bytes = 0;
    }
    run.push(block);
    bytes += block.bytes;
  }
  if (run.length > 0) yield run;
}

async function unpack(key: string, block: SegmentBlock, stored: Buffer): Promise<Buffer> {
  if (createHash("sha256").update(stored).digest("hex").slice(0, 32) !== block.digest) {
    throw damaged(key, "a block was altered");
  }
  const text = await unzip(stored, { maxOutputLength: Math.max(1, block.rawBytes) }).catch((cause: unknown) => {
    throw damaged(key, "a block can't be unpacked", cause);
  });
  if (text.length !== block.rawBytes) throw damaged(key, "a block has another length than its index says");
  return text;
}

async function decodeIndex(key: string, packed: Buffer, tenantKey: string | undefined): Promise<SegmentIndex> {
  let json: unknown;
  try {
    json = JSON.parse((await unzip(packed, { maxOutputLength: MOST_INDEX_BYTES })).toString("utf8"));
  } catch (cause) {
    throw damaged(key, "its index can't be read", cause);
  }
  const index = SegmentIndex.safeParse(tenantKey === undefined ? json : withoutOthers(json, tenantKey));
  if (!index.success) throw damaged(key, "its index does not have the documented shape", index.error);
  return index.data;
}

/** Its digest was right: what is left out unseen is what was written. Checking a thousand others took four tenths of opening it. */
function withoutOthers(json: unknown, tenantKey: string): unknown {
  if (typeof json !== "object" || json === null || !("blocks" in json) || !Array.isArray(json.blocks)) return json;
  return { ...json, blocks: json.blocks.filter((block: unknown) => !isOfAnother(block, tenantKey)) };
}

function isOfAnother(block: unknown, tenantKey: string): boolean {
  if (typeof block !== "object" || block === null || !("tenant" in block)) return false;
  return typeof block.tenant === "string" && block.tenant !== tenantKey;
}

async function readRange(
  store: ObjectStore,
  key: string,
  offset: number,
  length: number,
  { signal }: CallOptions,
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of await store.get(key, { range: { offset, length }, signal })) pieces.push(piece);
  } catch (error) {
    if (error instanceof StorageError && error.code === "object_missing") throw damaged(key, "it is missing", error);
    throw error;
  }
  const bytes = Buffer.concat(pieces);
  if (bytes.length !== length) throw damaged(key, "it was cut");
  return bytes;
}

function damaged(key: string, how: string, cause?: unknown): RecoveryError {
  return new RecoveryError("change_log_damaged", `Segment ${key} of the change log is not as it was written: ${how}`, {
    hint: "Restore to a moment before it, or from a later full backup, and check the object store.",
    cause,
  });
}
