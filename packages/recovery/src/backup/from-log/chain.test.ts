import fc from "fast-check";
import { expect, test } from "vitest";
import type { BackupArchive } from "../../archive/backup-reader.ts";
import { type BackupId, manifestKey } from "../../archive/object-keys.ts";
import { MemoryStore } from "../../archive/testing/memory-store.ts";
import { partKeysOf } from "../../archive/testing/written-backup.ts";
import type { Relation } from "../../changes/log/segment-index.ts";
import { openSegment, readBlocks, type Segment } from "../../changes/log/segment-reader.ts";
import { parsePgSnapshot, shows } from "../../changes/moment/pg-snapshot.ts";
import { type RandomHistory, RELATIONS, randomHistory } from "../../changes/moment/testing/random-history.ts";
import { storeSegments } from "../../changes/moment/testing/scripted-log.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import { deleteBackup } from "../delete.ts";
import { type ChainLink, openChain } from "./chain.ts";
import { openIncremental } from "./open-incremental.ts";
import { linesOf, manifestOf, TENANT, TENANT_ID, writeBase, writeLink } from "./testing/written-chain.ts";

/** Each writes a chain and reads it again; a busy machine takes half a second for one. */
const RUNS = 15;
const { signal } = new AbortController();

test("a chain gives the rows at its end, also when a transaction stands in the WAL before others and became visible after them", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        seed: fc.integer(),
        length: fc.integer({ min: 1, max: 30 }),
        base: fc.nat(),
        links: fc.integer({ min: 1, max: 4 }),
        /** Which link carries a transaction, drawn once for each. */
        carriedBy: fc.array(fc.nat(), { minLength: 30, maxLength: 30 }),
        perSegment: fc.integer({ min: 1, max: 9 }),
        partBytes: fc.constantFrom(1, 300, 100_000),
      }),
      async ({ seed, length, links: count, carriedBy, perSegment, partBytes, ...drawn }) => {
        const history = randomHistory(seed, length);
        const from = drawn.base % (length + 1);
        const store = new MemoryStore();
        const segments = await storeSegments(store, history.transactions, perSegment);
        const links = [await writeBase(store, stateAt(history, from))];
        for (let link = 1; link <= count; link += 1) {
          const pgSnapshot =
            link === count
              ? stateAt(history, length).pgSnapshot
              : snapshotOf(history, from, (at) => (carriedBy[at] ?? 0) % count < link);
          links.push(
            await writeLink(store, links, { segments, pgSnapshot, state: stateAt(history, length), partBytes }),
          );
        }
        // What follows needs nothing of the log.
        for (const { key } of segments) store.objects.delete(key);
        const archive = await open(store, links);
        await archive.verify();
        for (const { table } of RELATIONS) {
          expect(await rowsOf(archive, table)).toEqual(linesOf(stateAt(history, length), table.name).toSorted());
        }
        const last = await manifestOf(store, links.at(-1) ?? { backupId: "", manifestSha256: null });
        expect(archive.manifest).toEqual(last);
      },
    ),
    { numRuns: RUNS },
  );
});

test("an incremental backup holds blocks of its tenant and of nobody, and no other tenant's key", async () => {
  const { store, links } = await threeLinks();
  for (const { backupId } of links.slice(1)) {
    const { changes } = await manifestOf(store, { backupId, manifestSha256: null });
    expect(changes?.count).toBeGreaterThan(0);
    for (const key of partKeysOf(store, { tenantId: TENANT_ID, backupId })) {
      const { index, text } = await readPart(store, key);
      expect(
        index.blocks.map((block) => block.tenant).filter((tenant) => tenant !== null && tenant !== TENANT),
      ).toEqual([]);
      // An `M` line that names the tenant whose row it is now.
      expect(text).not.toMatch(/^M\t\d+\tb\t/m);
    }
  }
});

test("whatever is missing or damaged below breaks the chain, names the backup, and is noticed on opening", async () => {
  const breaks: [string, number, (store: MemoryStore, links: readonly ChainLink[]) => Promise<void> | void][] = [
    ["the full backup is gone", 0, (store, links) => deleteBackup(store, idOf(links, 0))],
    ["the parent is gone", 1, (store, links) => deleteBackup(store, idOf(links, 1))],
    ["the parent's part is gone", 1, (store, links) => void store.objects.delete(firstPart(store, idOf(links, 1)))],
    ["the parent's part was altered", 1, (store, links) => alter(store, firstPart(store, idOf(links, 1)))],
    ["the full backup's part was altered", 0, (store, links) => alter(store, firstPart(store, idOf(links, 0)))],
    ["the parent's manifest was altered", 1, (store, links) => alter(store, manifestKey(idOf(links, 1)))],
  ];
  for (const [what, at, breakIt] of breaks) {
    const { store, links } = await threeLinks();
    await breakIt(store, links);
    await expect(open(store, links), what).rejects.toMatchObject({
      code: "chain_broken",
      message: expect.stringContaining(links[at]?.backupId ?? "?"),
    });
  }
});

test("a parent that is whole, but not the one that it was made on, is refused", async () => {
  const { store, links, history, segments } = await threeLinks();
  const [base] = links;
  if (base === undefined) throw new Error("no base");
  const other = await writeLink(store, [base], {
    segments,
    pgSnapshot: stateAt(history, 11).pgSnapshot,
    state: stateAt(history, 11),
  });
  await expect(open(store, [base, other, ...links.slice(2)])).rejects.toMatchObject({ code: "chain_broken" });
  const [, , last] = links;
  if (last === undefined) throw new Error("no last link");
  await expect(open(store, [base, last])).rejects.toMatchObject({ code: "chain_broken" });
});

test("its own damage is its own", async () => {
  const { store, links } = await threeLinks();
  alter(store, firstPart(store, idOf(links, 2)));
  await expect(open(store, links)).rejects.toMatchObject({ code: "archive_damaged" });
});

test("rows that are not those of the manifest are never handed out", async () => {
  const history = randomHistory(5, 20);
  const store = new MemoryStore();
  const segments = await storeSegments(store, history.transactions);
  const base = await writeBase(store, stateAt(history, 3));
  const { pgSnapshot } = stateAt(history, 20);
  const link = await writeLink(store, [base], { segments, pgSnapshot, state: stateAt(history, 12) });
  await expect(open(store, [base, link])).rejects.toMatchObject({ code: "archive_damaged" });
});

test("links that repeat what they know of a table hold it once: a chain may be long, and a source have a thousand tables", async () => {
  const { store, links } = await threeLinks();
  const { changes } = await openChain({ store, signal }, { tenantId: TENANT_ID, tenantKey: TENANT, links });
  const definitions = new Set<Relation>();
  for (const log of changes)
    for (const table of log.tables)
      for await (const batch of log.lines(tableLabel(table)))
        for (const { relation } of batch) definitions.add(relation);
  expect(changes).toHaveLength(2);
  expect(definitions.size).toBe(RELATIONS.length);
});

async function threeLinks() {
  const history = randomHistory(11, 30);
  const store = new MemoryStore();
  const segments = await storeSegments(store, history.transactions);
  const links = [await writeBase(store, stateAt(history, 4))];
  for (const at of [15, 30]) {
    const state = stateAt(history, at);
    links.push(await writeLink(store, links, { segments, pgSnapshot: state.pgSnapshot, state }));
  }
  return { history, store, segments, links };
}

function open(store: MemoryStore, links: readonly ChainLink[]): Promise<BackupArchive> {
  return openIncremental({ store, signal }, { tenantId: TENANT_ID, tenantKey: TENANT, links });
}

function idOf(links: readonly ChainLink[], at: number): { tenantId: string; backupId: string } {
  return { tenantId: TENANT_ID, backupId: links[at]?.backupId ?? "" };
}

function firstPart(store: MemoryStore, id: BackupId): string {
  return partKeysOf(store, id)[0] ?? "";
}

function alter(store: MemoryStore, key: string): void {
  const object = store.objects.get(key);
  if (object === undefined) throw new Error(`no object ${key}`);
  object.bytes.writeUInt8(object.bytes.readUInt8(20) ^ 1, 20);
}

function stateAt({ states }: RandomHistory, at: number): RandomHistory["states"][number] {
  const state = states[at];
  if (state === undefined) throw new Error(`no state ${at}`);
  return state;
}

/** A snapshot that shows what the base shows, and of the later transactions those that are chosen. */
function snapshotOf({ transactions, states }: RandomHistory, from: number, chosen: (at: number) => boolean): string {
  const base = parsePgSnapshot(states[from]?.pgSnapshot ?? "");
  const later = transactions.filter(({ xid }) => !shows(base, xid));
  const shown = new Set(later.filter((_, at) => chosen(at)).map(({ xid }) => xid));
  const last = parsePgSnapshot(states.at(-1)?.pgSnapshot ?? "");
  const hidden: bigint[] = [];
  for (let xid = base.xmin; xid < last.xmax; xid += 1n) if (!shows(base, xid) && !shown.has(xid)) hidden.push(xid);
  return `${[...hidden, last.xmax][0]}:${last.xmax}:${hidden.join(",")}`;
}

async function readPart(store: MemoryStore, key: string): Promise<{ index: Segment["index"]; text: string }> {
  const segment = await openSegment(store, key, store.objects.get(key)?.bytes.length ?? 0);
  const texts: string[] = [];
  for await (const { text } of readBlocks(store, segment, segment.index.blocks)) texts.push(text.toString("latin1"));
  return { index: segment.index, text: texts.join("") };
}

async function rowsOf(archive: BackupArchive, table: Parameters<BackupArchive["readTable"]>[0]): Promise<string[]> {
  const pieces: Buffer[] = [];
  for await (const piece of archive.readTable(table)) pieces.push(piece);
  return Buffer.concat(pieces).toString("latin1").split("\n").slice(0, -1).toSorted();
}
