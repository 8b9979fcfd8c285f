import { getBackup, getRun } from "@rowback/db";
import { BackupResult } from "@rowback/jobs";
import { testDatabase, testRole } from "@rowback/local-services/testing";
import { expect, test } from "vitest";
import { workerFixture } from "./testing/worker-fixture.ts";

test("a backup names the tables it took for nobody's, and the sequences it could not read", async () => {
  const source = await testDatabase("warnings-source");
  await source.pool.query(`
CREATE TABLE tenants (id text PRIMARY KEY);
CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants);
CREATE TABLE countries (code text PRIMARY KEY);
INSERT INTO tenants VALUES ('acme');
INSERT INTO orders (tenant_id) VALUES ('acme');
`);
  const role = await testRole(source);
  await source.pool.query(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO "${role.name}"`);
  const at = await workerFixture("warnings", { sourceUrl: role.url });
  await at.start();
  const { id } = await at.until((await at.ask({ kind: "backup" })).id, "succeeded");

  const { warnings } = BackupResult.parse((await getRun(at.db.system, id))?.result);
  expect(warnings).toEqual([
    expect.stringContaining("public.countries"),
    expect.stringContaining("public.orders_id_seq"),
  ]);
  expect((await getBackup(at.db.system, id))?.warnings).toEqual(warnings);

  await source.pool.query(`GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO "${role.name}"`);
  const granted = await at.until((await at.ask({ kind: "backup" })).id, "succeeded");
  expect(BackupResult.parse(granted.result).warnings).toEqual([expect.not.stringContaining("orders_id_seq")]);
});
