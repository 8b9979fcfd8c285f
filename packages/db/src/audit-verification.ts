import { createHash } from "node:crypto";
import { z } from "zod";
import type { ControlDatabase, Queryable } from "./control-database.ts";
import { allRows, Int8 } from "./rows.ts";
import { withSystem } from "./tenant-context.ts";

/** The chain of the entries that are no tenant's. */
export const NO_TENANT_CHAIN = "00000000-0000-0000-0000-000000000000";

const Digest = z.string().regex(/^[0-9a-f]{64}$/);

/** How far a chain had come at some moment. Kept outside the database, it vouches for everything up to there. */
export const ChainHead = z.object({
  /** The tenant's id, or NO_TENANT_CHAIN. */
  chain: z.uuid(),
  length: Int8,
  hash: Digest,
});
export type ChainHead = z.infer<typeof ChainHead>;

/** The first entry of a chain that is not as it was written. */
export interface BrokenChain {
  readonly chain: string;
  readonly seq: number;
  readonly problem: string;
}

export interface AuditVerification {
  readonly chains: number;
  readonly entries: number;
  readonly broken: readonly BrokenChain[];
}

export interface AuditVerificationOptions {
  /** Heads that were kept elsewhere at an earlier verification; 100,000 of them take some 20 MB. */
  readonly anchors?: readonly ChainHead[];
  /** Told each chain's present head, in the order of the chains. */
  readonly onHead?: (head: ChainHead) => void;
}

/**
 * Reads every entry of the audit log, recomputes every hash, and compares the ends with the heads and with what was kept
 * outside. One snapshot, pages of entries: memory does not grow with the log.
 */
export async function verifyAuditLog(
  db: ControlDatabase,
  options: AuditVerificationOptions = {},
): Promise<AuditVerification> {
  const anchors = new Map((options.anchors ?? []).map((anchor) => [anchor.chain, anchor]));
  return withSystem(db, async (client) => {
    // Entries and heads of one moment: a request that appends meanwhile must not look like a forgery.
    await client.query({ text: "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY" });
    const broken: BrokenChain[] = [];
    let [chains, entries] = [0, 0];
    for await (const { chain, head, items } of chainsOf(headsOf(client), entriesOf(client))) {
      const walk = new ChainWalk(chain, anchors.get(chain));
      anchors.delete(chain);
      for await (const entry of items) walk.follow(entry);
      const problem = walk.end(head);
      if (problem !== null) broken.push(problem);
      if (head !== null) options.onHead?.(head);
      chains += 1;
      entries += walk.entries;
    }
    for (const { chain, length } of anchors.values()) {
      if (length > 0)
        broken.push({ chain, seq: 1, problem: `all ${length} entries that the anchor knows of are gone` });
    }
    return { chains, entries, broken };
  });
}

const StoredEntry = z.object({ chain: z.uuid(), seq: Int8, hash: Digest, text: z.string() });
type StoredEntry = z.infer<typeof StoredEntry>;

/** Follows one chain from its beginning; remembers the first thing that is wrong. */
class ChainWalk {
  entries = 0;
  readonly #chain: string;
  readonly #anchor: ChainHead | undefined;
  #next = 1;
  #hash = "0".repeat(64);
  #broken: BrokenChain | null = null;

  constructor(chain: string, anchor: ChainHead | undefined) {
    this.#chain = chain;
    this.#anchor = anchor;
  }

  follow(entry: StoredEntry): void {
    this.entries += 1;
    if (this.#broken !== null) return;
    const problem = this.#problemOf(entry);
    if (problem !== null) this.#break(Math.min(entry.seq, this.#next), problem);
    this.#next = entry.seq + 1;
    this.#hash = entry.hash;
  }

  #problemOf({ seq, hash, text }: StoredEntry): string | null {
    if (seq > this.#next) return "the entry is missing";
    if (seq < this.#next) return "there is an entry too many";
    const computed = createHash("sha256").update(Buffer.from(this.#hash, "hex")).update(text, "utf8").digest("hex");
    if (computed !== hash) return "the entry, or the one before it, is not as it was written";
    if (seq === this.#anchor?.length && hash !== this.#anchor.hash)
      return "up to here the chain is another than the one the anchor was taken of";
    return null;
  }

  end(head: ChainHead | null): BrokenChain | null {
    if (this.#broken !== null) return this.#broken;
    const length = this.#next - 1;
    const known = Math.max(head?.length ?? 0, this.#anchor?.length ?? 0);
    if (known > length) this.#break(this.#next, `the entry is missing: the chain had come to entry ${known}`);
    else if (head === null) this.#break(1, "the chain has no head");
    else if (head.length < length) this.#break(head.length + 1, "the chain's head does not know of the entry");
    else if (head.hash !== this.#hash) this.#break(length, "the chain's head knows of another last entry");
    return this.#broken;
  }

  #break(seq: number, problem: string): void {
    this.#broken = { chain: this.#chain, seq, problem };
  }
}

const HEADS_A_PAGE = 1_000;
// An entry is some hundred bytes, one that changes 10,000 rules of a source a few megabytes.
const ENTRIES_A_PAGE = 200;

async function* headsOf(q: Queryable): AsyncGenerator<ChainHead> {
  for (let after: string | null = null; ; ) {
    const result: { rows: unknown[] } = await q.query({
      text: `SELECT chain_id AS chain, length, encode(hash, 'hex') AS hash FROM audit_chains
WHERE $1::uuid IS NULL OR chain_id > $1 ORDER BY chain_id LIMIT ${HEADS_A_PAGE}`,
      values: [after],
    });
    const heads: ChainHead[] = allRows(result, ChainHead);
    yield* heads;
    const last = heads.at(-1);
    if (last === undefined || heads.length < HEADS_A_PAGE) return;
    after = last.chain;
  }
}

/** In the order of the chains, and within each of `seq`. The text is that of audit_entry_text (0013_audit_chains.sql). */
async function* entriesOf(q: Queryable): AsyncGenerator<StoredEntry> {
  for (let after = { chain: NO_TENANT_CHAIN, seq: Number.MIN_SAFE_INTEGER }; ; ) {
    const result = await q.query({
      text: `SELECT coalesce(tenant_id, '${NO_TENANT_CHAIN}'::uuid) AS chain, seq, encode(hash, 'hex') AS hash,
  jsonb_build_array('rowback.audit.v1', seq, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    tenant_id, source_id, run_id, user_id, action, ip::text, before, after)::text AS text
FROM audit_log WHERE (coalesce(tenant_id, '${NO_TENANT_CHAIN}'::uuid), seq) > ($1, $2)
ORDER BY coalesce(tenant_id, '${NO_TENANT_CHAIN}'::uuid), seq LIMIT ${ENTRIES_A_PAGE}`,
      values: [after.chain, after.seq],
    });
    const entries = allRows(result, StoredEntry);
    yield* entries;
    const last = entries.at(-1);
    if (last === undefined || entries.length < ENTRIES_A_PAGE) return;
    after = last;
  }
}

interface StoredChain {
  readonly chain: string;
  /** Null: entries without a head. */
  readonly head: ChainHead | null;
  /** To be read to its end before the next chain. */
  readonly items: AsyncIterable<StoredEntry>;
}

/** Brings heads and entries together, both in the order of the chains: PostgreSQL orders UUIDs as their text is ordered. */
async function* chainsOf(
  heads: AsyncGenerator<ChainHead>,
  entries: AsyncGenerator<StoredEntry>,
): AsyncGenerator<StoredChain> {
  let head = (await heads.next()).value ?? null;
  let entry: StoredEntry | null = (await entries.next()).value ?? null;
  async function* entriesOfChain(chain: string): AsyncGenerator<StoredEntry> {
    while (entry !== null && entry.chain === chain) {
      yield entry;
      entry = (await entries.next()).value ?? null;
    }
  }
  while (head !== null || entry !== null) {
    const chain: string =
      entry === null || (head !== null && head.chain <= entry.chain) ? (head?.chain ?? "") : entry.chain;
    yield { chain, head: head?.chain === chain ? head : null, items: entriesOfChain(chain) };
    if (head?.chain === chain) head = (await heads.next()).value ?? null;
  }
}
