import { expect, test } from "vitest";
import { ErasureCertificate, erasureCertificate, isIntact } from "./certificate.ts";

const FACTS = {
  tenant: { id: "11111111-1111-4111-8111-111111111111", name: "Acme" },
  source: { id: "33333333-3333-4333-8333-333333333333", name: "shop" },
  runId: "44444444-4444-4444-8444-444444444444",
  erasedAt: "2024-02-29T12:00:00.000Z",
  erasedBy: "olga",
  dataKey: {
    id: "55555555-5555-4555-8555-555555555555",
    createdAt: "2024-01-01T00:00:00.000Z",
    masterKeyId: "0123456789abcdef",
  },
  backups: { encrypted: 3, inClear: 0, storedBytes: 1_000 },
};

test("a certificate has a digest of all it says", () => {
  const certificate = erasureCertificate(FACTS);
  expect(ErasureCertificate.parse(JSON.parse(JSON.stringify(certificate)))).toEqual(certificate);
  expect(isIntact(certificate)).toBe(true);
  for (const altered of [
    { ...certificate, erasedBy: "mallory" },
    { ...certificate, tenant: { ...certificate.tenant, name: "Zenith" } },
    { ...certificate, statements: [] },
    { ...certificate, dataKey: null },
  ]) {
    expect(isIntact(altered)).toBe(false);
  }
  const reordered = Object.fromEntries(Object.entries(certificate).reverse());
  expect(isIntact(ErasureCertificate.parse(reordered))).toBe(true);
});

test("it claims no more than is true", () => {
  const mixed = erasureCertificate({ ...FACTS, backups: { encrypted: 3, inClear: 2, storedBytes: 1 } });
  expect(mixed.statements.join("\n")).toContain("2 backups were stored in clear");
  expect(mixed.statements.join("\n")).toContain("Copies of the control database");
  const clear = erasureCertificate({ ...FACTS, dataKey: null, backups: { encrypted: 0, inClear: 2, storedBytes: 1 } });
  expect(clear.statements.join("\n")).not.toContain("can't be opened");
});
