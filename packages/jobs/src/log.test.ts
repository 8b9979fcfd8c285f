import { expect, test } from "vitest";
import { describeError, withoutCredentials } from "./log.ts";

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
