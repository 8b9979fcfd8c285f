import { describeError } from "@rowback/jobs";
import { expect, test } from "vitest";
import { createLog } from "./log.ts";

test("an error that its caller described is written as it is", () => {
  const lines: string[] = [];
  const log = createLog("info", {}, { write: (line) => void lines.push(line) });
  const error = new Error("outer", { cause: new Error("inner") });
  log.info({ error: describeError(error) }, "described");
  log.info({ error }, "not described");
  for (const line of lines)
    expect(JSON.parse(line)).toMatchObject({ error: { message: "outer", cause: { message: "inner" } } });
  expect(lines).toHaveLength(2);
});
