import { randomUUID } from "node:crypto";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { startTestApi, type TestApi, type TestTenant } from "./testing/test-api.ts";

let api: TestApi;
let tenant: TestTenant;
beforeAll(async () => {
  api = await startTestApi();
  tenant = await api.tenant();
  await api.member(tenant.id, "olga", "owner");
});
afterAll(() => api.close());

describe("whatever is sent, it is never a defect", () => {
  const ROUTES = [
    ["POST", "/v1/backups"],
    ["POST", "/v1/restores/preview"],
    ["POST", "/v1/restores"],
    ["POST", "/v1/sources"],
    ["POST", "/v1/tenants"],
  ] as const;
  const MEMBERS = [
    "tables",
    "type",
    "backupId",
    "mode",
    "keys",
    "triggers",
    "targetSourceId",
    "previewId",
    "planDigest",
    "name",
    "connection",
    "tenancy",
    "rules",
    "sourceId",
    "key",
  ];
  const text = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.constantFrom("orders", "exact", "full", "column", "env:X", "\u0000", "\ud800", randomUUID()),
  );
  const value = fc.letrec((tie) => ({
    any: fc.oneof(
      { maxDepth: 4 },
      text,
      fc.integer(),
      fc.double(),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie("any"), { maxLength: 4 }),
      fc.dictionary(
        fc.oneof(fc.constantFrom("table", "keys", "mode", "column", "schema", "scope", "kind"), fc.string()),
        tie("any"),
        { maxKeys: 4 },
      ),
    ),
  })).any;
  const body = fc.oneof(value, fc.dictionary(fc.constantFrom(...MEMBERS), value, { maxKeys: 6 }));

  test("as a JSON body", async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...ROUTES), body, async ([method, path], sent) => {
        const headers = { "x-tenant-id": tenant.id };
        const response = await api.call(method, path, { user: "olga", headers, body: sent ?? null });
        expect(response.statusCode, response.body).toBeLessThan(500);
      }),
      { numRuns: 400 },
    );
  });

  test("as a source that is almost right", async () => {
    const column = fc.record({
      mode: fc.constant("column"),
      column: text,
      root: fc.option(fc.record({ schema: text, name: text }), { nil: undefined }),
    });
    const schema = fc.record({ mode: fc.constant("schema"), pattern: text.map((part) => `${part}{key}`) });
    const almost = fc.record({
      name: text,
      connection: fc.oneof(
        text,
        fc.constant("env:X"),
        text.map((part) => `postgres://${part}`),
      ),
      tenancy: fc.oneof(column, schema),
      rules: fc.array(
        fc.record({
          table: fc.record({ schema: text, name: text }),
          scope: fc.record({ kind: fc.constant("direct"), column: text }),
        }),
        { maxLength: 3 },
      ),
    });
    await fc.assert(
      fc.asyncProperty(almost, async (sent) => {
        const response = await api.call("POST", "/v1/sources", { user: "olga", body: sent });
        expect(response.statusCode, response.body).toBeLessThan(500);
      }),
      { numRuns: 150 },
    );
  });

  test("as a query or a path", async () => {
    await fc.assert(
      fc.asyncProperty(
        text,
        fc.constantFrom("status", "type", "from", "to", "limit", "cursor", "deleted"),
        async (sent, name) => {
          const encoded = encodeURIComponent(sent.toWellFormed());
          for (const path of [
            `/v1/backups?${name}=${encoded}`,
            `/v1/backups/${encoded}`,
            `/v1/tenants/${tenant.id}/members/${encoded}`,
          ]) {
            const response = await api.call(path.includes("members") ? "DELETE" : "GET", path, {
              user: "olga",
              headers: { "x-tenant-id": tenant.id },
            });
            expect(response.statusCode, response.body).toBeLessThan(500);
          }
        },
      ),
      { numRuns: 200 },
    );
  });
});
