import { expect, test } from "vitest";
import { describeDefect, describeError, withoutCredentials } from "./log.ts";

test("credentials in a text are masked, wherever they stand", () => {
  expect(withoutCredentials("connect postgres://admin:s3cret@db:5432/app and redis://:pw@r/0 failed")).toBe(
    "connect postgres://***@db:5432/app and redis://***@r/0 failed",
  );
  expect(withoutCredentials("https://example.org/a@b")).toBe("https://example.org/a@b");
});

test("an error is described without the driver's own fields, causes included", () => {
  const cause = Object.assign(new Error("refused postgres://u:s3cret@h/d"), {
    detail: "Key (email)=(a@b.c)",
    code: "23505",
  });
  const text = JSON.stringify(describeError(new Error("outer postgres://u:s3cret@h/d", { cause })));
  expect(text).not.toContain("s3cret");
  expect(text).not.toContain("a@b.c");
  expect(text).toContain("23505");
});

test("a defect is told by names and frames, causes included, and by none of its words", () => {
  const cause = Object.assign(new SyntaxError("Unexpected token in a@b.c"), { code: "22P02" });
  const text = JSON.stringify(describeDefect(new TypeError("a@b.c is\nno function", { cause })));
  for (const part of ["TypeError", "SyntaxError", "22P02", "log.test.ts"]) expect(text).toContain(part);
  expect(text).not.toContain("a@b.c");
  expect(text).not.toContain("no function");
  expect(describeDefect("a@b.c")).toEqual({ name: "string" });
});
