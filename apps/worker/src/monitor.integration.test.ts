import { expect, test } from "vitest";
import { scripted } from "./testing/scripted-handlers.ts";
import { workerFixture } from "./testing/worker-fixture.ts";

test("/healthz answers, /metrics counts runs by kind and outcome, and there is nothing else", async () => {
  const fixture = await workerFixture("monitor");
  const worker = await fixture.start(scripted(async () => undefined));
  await fixture.until((await fixture.ask()).id, "succeeded");
  const at = (path: string): Promise<Response> => fetch(`http://127.0.0.1:${worker.monitorPort}${path}`);
  expect(await (await at("/healthz")).json()).toEqual({ status: "ok" });
  const metrics = await (await at("/metrics")).text();
  expect(metrics).toContain('rowback_runs_total{kind="backup_verify",outcome="succeeded"} 1');
  expect(metrics).toContain('rowback_queue_jobs{queue="backups",state="waiting"} 0');
  expect(metrics).toContain('rowback_queue_lag_seconds_count{kind="backup_verify"} 1');
  expect(metrics).toContain("rowback_runs_active 0");
  expect((await at("/")).status).toBe(404);
});
