import { insertSource, listBreakerReports } from "@rowback/db";
import { startTcpProxy } from "@rowback/local-services";
import { testDatabase } from "@rowback/local-services/testing";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { workerFixture } from "./testing/worker-fixture.ts";

const Readyz = z.object({
  breakers: z.array(z.object({ dependency: z.string(), state: z.string(), retryInMs: z.number().nullable() })),
});
const soon = { timeout: 30_000, interval: 50 };

test("a source that is away costs its runs no attempt once that is known; they go on by themselves when it is back", async () => {
  const source = await testDatabase("breaker-source");
  await source.pool.query("CREATE TABLE tenants (id text PRIMARY KEY)");
  const proxy = await startTcpProxy({ port: Number(new URL(source.url).port) });
  onTestFinished(() => proxy.close());
  const fixture = await workerFixture("breakers", { sourceUrl: proxy.through(source.url) });
  proxy.cut();
  const worker = await fixture.start({}, { breakers: { failures: 3, resetMs: 1_500 } });
  const monitor = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${worker.monitorPort}${path}`);
  const dependency = `source:${fixture.sourceId}`;

  // Its third failure is the one that opens the breaker: the attempt is given back, though it was the last.
  const first = await fixture.ask({ kind: "discovery", maxAttempts: 3 });
  await vi.waitFor(async () => {
    const { breakers } = Readyz.parse(await (await monitor("/readyz")).json());
    expect(breakers).toContainEqual(expect.objectContaining({ dependency, state: "open" }));
    expect(await fixture.run(first.id)).toMatchObject({ status: "queued", attempt: 2 });
  }, soon);
  expect((await fixture.run(first.id)).error).toMatchObject({ code: "source_unreachable", retryable: true });
  expect((await monitor("/readyz")).status).toBe(200);
  expect(await (await monitor("/metrics")).text()).toContain(`rowback_breaker_state{dependency="${dependency}"}`);

  // The API's /readyz learns of it.
  const reported = async () => (await listBreakerReports(fixture.db.system)).flatMap(({ breakers }) => breakers);
  await vi.waitFor(async () => {
    const said = (await reported()).filter((breaker) => breaker.dependency === dependency);
    expect(said.map(({ state }) => state === "closed")).toEqual([false]);
  }, soon);

  // Asked for meanwhile: it is not even begun, however often the source is asked again in vain.
  const second = await fixture.ask({ kind: "discovery", maxAttempts: 1 });
  const asked = new Set<number>();
  await vi.waitFor(async () => {
    const { breakers } = Readyz.parse(await (await monitor("/readyz")).json());
    for (const { retryInMs } of breakers) asked.add(Math.sign(retryInMs ?? 0));
    expect(asked.size).toBe(2);
    expect(await fixture.run(second.id)).toMatchObject({ status: "queued", attempt: 0 });
  }, soon);

  // Another source's runs are not held up.
  const elsewhere = await insertSource(fixture.db.system, {
    name: "elsewhere",
    connection: { kind: "reference", reference: "env:NOT_SET" },
    tenancy: { mode: "column", column: "tenant_id" },
  });
  const third = await fixture.ask({ kind: "discovery", sourceId: elsewhere?.id ?? "" });
  expect((await fixture.until(third.id, "failed")).error).toMatchObject({ code: "source_not_configured" });

  proxy.restore();
  await Promise.all([first, second].map(({ id }) => fixture.until(id, "succeeded", 30_000)));
  expect(await fixture.run(second.id)).toMatchObject({ attempt: 1 });
  await worker.close();
  expect(await reported()).toEqual([]);
});
