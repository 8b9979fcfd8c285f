import fc from "fast-check";
import { expect, test } from "vitest";
import { joinChanges } from "./joined-changes.ts";
import type { LoggedTableLine, TableChanges } from "./moment-log.ts";
import { BAG } from "./testing/random-history.ts";

const LABEL = "app.bag";

/** A part with these commit LSNs, which tells when it is read. */
function part(lsns: readonly number[], open: Set<object>): TableChanges {
  const digits = (lsn: number): string => lsn.toString(16).padStart(16, "0");
  const reading = {};
  return {
    tables: [BAG.table],
    rawBytes: () => lsns.length,
    extent: () => (lsns.length === 0 ? null : { first: digits(lsns[0] ?? 0), last: digits(lsns.at(-1) ?? 0) }),
    lines: async function* () {
      open.add(reading);
      for (const lsn of lsns) yield [lineAt(lsn)];
      open.delete(reading);
    },
  };
}

function lineAt(lsn: number): LoggedTableLine {
  const transaction = { lsn: BigInt(lsn), xid: BigInt(lsn), at: 0n };
  const change = { op: "insert", transaction, seq: 0, row: [], old: null, tenant: null } as const;
  return { change, relation: BAG, shared: false, included: true };
}

async function join(parts: readonly (readonly number[])[]): Promise<{ lsns: number[]; mostOpen: number }> {
  const open = new Set<object>();
  const lsns: number[] = [];
  let mostOpen = 0;
  for await (const batch of joinChanges(parts.map((one) => part(one, open))).lines(LABEL)) {
    mostOpen = Math.max(mostOpen, open.size);
    lsns.push(...batch.map(({ change }) => Number(change.transaction.lsn)));
  }
  return { lsns, mostOpen };
}

test("parts come in commit order, whichever of them a transaction is in", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(5), { maxLength: 60 }), async (partOf) => {
      const parts = Array.from({ length: 6 }, (_, n) => partOf.flatMap((at, lsn) => (at === n ? [lsn] : [])));
      expect((await join(parts)).lsns).toEqual(partOf.map((_, lsn) => lsn));
    }),
    { numRuns: 50 },
  );
});

test("a long chain whose links overlap with their neighbours is read by two at a time", async () => {
  // 1,000 lines are handed on at a time, so each part has more.
  const parts = Array.from({ length: 6 }, (_, n) =>
    Array.from({ length: 1_500 }, (_, at) => 2 * (n * 1_200 + at) + (n % 2)),
  );
  const { lsns, mostOpen } = await join(parts);
  expect(lsns).toEqual(parts.flat().toSorted((a, b) => a - b));
  expect(mostOpen).toBeLessThanOrEqual(2);
});
