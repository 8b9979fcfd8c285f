import { expect, test } from "vitest";
import type { Finding } from "../postgres/finding.ts";
import { backupWarnings } from "./warnings.ts";

const finding = (code: string, name: string): Finding => ({
  severity: "warning",
  code,
  table: { schema: "public", name },
  message: `${code} of ${name}.`,
  hint: "Do something.",
});

test("a backup with nothing to warn of has no warnings", () => {
  expect(backupWarnings([], [])).toEqual([]);
});

test("tables taken for nobody's are named in one sentence, other findings and unreadable sequences in their own", () => {
  const findings = [
    finding("assumed_shared", "plans"),
    finding("path_nullable", "notes"),
    finding("assumed_shared", "countries"),
  ];
  const warnings = backupWarnings(findings, [{ schema: "public", name: "orders_id_seq" }]);
  expect(warnings).toEqual([
    expect.stringContaining("public.countries, public.plans."),
    "public.notes: path_nullable of notes.",
    expect.stringContaining("public.orders_id_seq."),
  ]);
});

test("a thousand shared tables do not make a page of names, and none is passed over in silence", () => {
  const [warning] = backupWarnings(
    Array.from({ length: 1_000 }, (_, at) => finding("assumed_shared", `t${at}`)),
    [],
  );
  expect(warning).toContain("and 900 more");
});
