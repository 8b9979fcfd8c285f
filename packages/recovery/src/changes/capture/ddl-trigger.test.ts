import { expect, test } from "vitest";
import { readDdlMessage, seeDdlTrigger } from "./ddl-trigger.ts";

const look = (ddlTrigger: string | null, oldestXid: bigint, nextXid: bigint): Parameters<typeof seeDdlTrigger>[1] => ({
  ddlTrigger,
  oldestXid,
  nextXid,
});

test("triggers are in force once every transaction has ended that may have changed a table before they were there", () => {
  const first = seeDdlTrigger(null, look("v1", 5n, 10n));
  expect(first).toEqual({ version: "v1", from: "10", inForce: false });
  expect(seeDdlTrigger(first, look("v1", 9n, 30n))).toEqual({ version: "v1", from: "10", inForce: false });
  expect(seeDdlTrigger(first, look("v1", 10n, 30n))).toEqual({ version: "v1", from: "10", inForce: true });
});

test("other triggers begin anew, and none are none", () => {
  const first = seeDdlTrigger(null, look("v1", 10n, 10n));
  expect(first?.inForce).toBe(true);
  expect(seeDdlTrigger(first, look("v2", 29n, 30n))).toEqual({ version: "v2", from: "30", inForce: false });
  expect(seeDdlTrigger(first, look(null, 30n, 30n))).toBe(null);
});

test("what no trigger writes is a failure to tell, not a table", () => {
  const read = (content: string): unknown => readDdlMessage("p.ddl", Buffer.from(content), "p");
  expect(read("")).toBe(null);
  expect(readDdlMessage("p", Buffer.from("{}"), "p")).toBe(null);
  for (const content of ["{", "{}", '{"table":{}}', '{"rewritten":{"oid":1}}', "[]", "\u0000"]) {
    expect(read(content)).toHaveProperty("failed");
  }
});
