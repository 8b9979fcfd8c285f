import fc from "fast-check";
import { expect, test } from "vitest";
import { ServerMessages } from "./server-messages.ts";

const kinds = fc.constantFrom("d", "d", "d", "N", "S", "E", "Z");
const messages = fc.array(
  fc.record({ kind: kinds, body: fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ minLength: 3_000 })) }),
  { maxLength: 30 },
);

function bytesOf(kind: string, body: Uint8Array): Buffer {
  const head = Buffer.from(`${kind}....`);
  head.writeUInt32BE(4 + body.length, 1);
  return Buffer.concat([head, body]);
}

/** What came out, in order: of CopyData the payload, of others all. */
function collect(): { readonly out: string[]; readonly given: Buffer[]; readonly reader: ServerMessages } {
  const out: string[] = [];
  const given: Buffer[] = [];
  const note = (kind: string, bytes: Buffer): void => {
    out.push(`${kind} ${bytes.toString("hex")}`);
    given.push(bytes);
  };
  const reader = new ServerMessages({
    copyData: (payload) => note("data", payload),
    other: (message) => note("other", message),
  });
  return { out, given, reader };
}

test("messages come out whole and in order, however they are cut, and stay as they were", () => {
  fc.assert(
    fc.property(messages, fc.array(fc.integer({ min: 1, max: 5_000 }), { minLength: 1 }), (sent, cuts) => {
      const bytes = Buffer.concat(sent.map(({ kind, body }) => bytesOf(kind, body)));
      const { out, given, reader } = collect();
      // As a socket does that reads into the same buffer again and again.
      const read = Buffer.alloc(5_000);
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const length = bytes.copy(read, 0, at, at + (cuts[turn % cuts.length] ?? 1));
        reader.take(read.subarray(0, length));
        at += length;
      }
      const expected = sent.map(({ kind, body }) =>
        kind === "d" ? `data ${Buffer.from(body).toString("hex")}` : `other ${bytesOf(kind, body).toString("hex")}`,
      );
      expect(out).toEqual(expected);
      expect(given.map((one, n) => `${out[n]?.split(" ")[0]} ${one.toString("hex")}`)).toEqual(expected);
    }),
  );
});

test("a message that is longer than what is allocated at a time comes out whole", () => {
  const { given, reader } = collect();
  const body = Buffer.alloc(1_000_000, "x");
  const bytes = Buffer.concat([
    bytesOf("d", Buffer.from("before")),
    bytesOf("d", body),
    bytesOf("d", Buffer.from("after")),
  ]);
  for (let at = 0; at < bytes.length; at += 65_536) reader.take(bytes.subarray(at, at + 65_536));
  expect(given.map(({ length }) => length)).toEqual([6, 1_000_000, 5]);
  expect(given[1]?.equals(body)).toBe(true);
});
