import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { ERROR_DOCS, renderErrorDocs } from "./error-docs.ts";

test("docs/errors.md says what the catalogue says", () => {
  expect(readFileSync(ERROR_DOCS, "utf8")).toBe(renderErrorDocs());
});
