import { readdir } from "node:fs/promises";
import { requestCancel } from "@rowback/db";
import { startTcpProxy } from "@rowback/local-services";
import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { workerFixture } from "./testing/worker-fixture.ts";
import { startWorkerProcess } from "./testing/worker-process.ts";

// Some 30 MB that don't compress: at 64 KiB each 50 ms a backup takes half a minute, and both COPY and upload are under way.
const BIG = `
CREATE TABLE tenants (id text PRIMARY KEY);
CREATE TABLE notes (id int PRIMARY KEY, tenant_id text NOT NULL REFERENCES tenants, body text NOT NULL);
INSERT INTO tenants VALUES ('acme');
INSERT INTO notes SELECT n, 'acme', (SELECT string_agg(md5(n::text || m), '') FROM generate_series(1, 30) m) FROM generate_series(1, 30000) n;
`;

test("a backup that one of two worker processes copies and uploads is cancelled from a third within two seconds, and leaves nothing", async () => {
  const source = await testDatabase("cancel-source");
  await source.pool.query(BIG);
  const proxy = await startTcpProxy({ port: Number(new URL(source.url).port) });
  onTestFinished(() => proxy.close());
  proxy.latency(50);
  const fixture = await workerFixture("cancel-processes", { sourceUrl: source.url });
  const sourceUrl = proxy.through(source.url);
  const workers = [1, 2].map(() => startWorkerProcess(fixture, { sourceUrl, graceMs: 0 }));
  const { id } = await fixture.ask({ kind: "backup" });
  const files = async (): Promise<string[]> => {
    if (fixture.config.store.driver !== "filesystem") throw new Error("the fixture's store is a folder");
    const entries = await readdir(fixture.config.store.root, { recursive: true, withFileTypes: true });
    return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
  };
  await vi.waitFor(
    async () => {
      const { status, progress, error } = await fixture.run(id);
      expect({ status, error, output: workers.map((worker) => worker.output()) }).toMatchObject({ status: "running" });
      expect(JSON.stringify(progress)).toMatch(/"bytes":[1-9]/);
      expect((await files()).length).toBeGreaterThan(0);
    },
    { timeout: 50_000, interval: 50 },
  );

  const askedAt = performance.now();
  await requestCancel(fixture.db.system, id);
  await fixture.producer.tellOfCancellation(id);
  const run = await fixture.until(id, "cancelled", 10_000);
  expect(performance.now() - askedAt).toBeLessThan(2_000);

  expect(run).toMatchObject({ attempt: 1, result: null, error: null });
  await vi.waitFor(
    async () => {
      const { rows } = await source.pool.query(
        "SELECT query FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'rowback worker%' AND state <> 'idle'",
      );
      expect(rows).toEqual([]);
      expect(await files()).toEqual([]);
    },
    { timeout: 10_000, interval: 50 },
  );
});
