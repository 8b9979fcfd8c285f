import fc from "fast-check";
import { expect, test } from "vitest";
import { copyMessages } from "../archive/testing/written-backup.ts";
import { TextTaker } from "./read-rows.ts";

const COPY_DONE = Buffer.from([0x63, 0, 0, 0, 4]);
const rows = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 30 });

test("rows come out of their messages, however these arrive in chunks that are used again", () => {
  fc.assert(
    fc.property(rows, fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 5 }), (all, sizes) => {
      const stream = Buffer.concat([copyMessages(all), COPY_DONE]);
      const text: Buffer[] = [];
      const taker = new TextTaker((piece) => text.push(Buffer.from(piece)));
      const chunk = Buffer.alloc(60);
      let rest: Buffer | null = null;
      for (let at = 0, turn = 0; at < stream.length && rest === null; turn += 1) {
        const size = Math.min(sizes[turn % sizes.length] ?? 1, stream.length - at);
        stream.copy(chunk, 0, at, at + size);
        if (taker.take(chunk.subarray(0, size)) === "other_message") rest = Buffer.from(taker.rest());
        chunk.fill(0xff);
        at += size;
      }
      expect(Buffer.concat(text)).toEqual(Buffer.concat(all.flatMap((row) => [row, Buffer.from("\n")])));
      expect(rest?.[0]).toBe(COPY_DONE[0]);
    }),
  );
});
