import { randomUUID } from "node:crypto";
import {
  cancelRun,
  claimRun,
  insertRun,
  listAuditEntries,
  listCancelRequested,
  type RunKind,
  recordProgress,
  succeedRun,
} from "@rowback/db";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finishBackup, runOf, startTestApi, type TestApi, type TestTenant } from "../testing/test-api.ts";

let api: TestApi;
let tenant: TestTenant;
let origin: string;
beforeAll(async () => {
  api = await startTestApi();
  tenant = await api.tenant();
  origin = await api.app.listen({ host: "127.0.0.1", port: 0 });
});
afterAll(() => api.close());

async function queuedBackup(): Promise<string> {
  return runOf(await api.call("POST", "/v1/backups", { user: tenant.owner, body: {} })).id;
}

interface Event {
  readonly event: string;
  readonly id: string;
  readonly run: { status: string; progress: { share: number } | null };
}

/** A client of the event stream, as a browser's EventSource reads it. */
class EventClient {
  readonly events: Event[] = [];
  readonly #left = new AbortController();
  ended: Promise<void> = Promise.resolve();
  response: Response | null = null;

  async open(runId: string, headers: Record<string, string> = {}): Promise<this> {
    this.response = await fetch(`${origin}/v1/runs/${runId}/events`, {
      headers: { authorization: `Bearer ${api.token(tenant.owner)}`, ...headers },
      signal: this.#left.signal,
    });
    this.ended = this.#read(this.response).catch(() => {});
    return this;
  }

  leave(): void {
    this.#left.abort();
  }

  async #read(response: Response): Promise<void> {
    let text = "";
    for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += chunk;
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      for (const block of blocks) {
        const fields = new Map(
          block.split("\n").map((line) => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]),
        );
        if (fields.has("event")) {
          this.events.push({
            event: fields.get("event") ?? "",
            id: fields.get("id") ?? "",
            run: JSON.parse(fields.get("data") ?? ""),
          });
        }
      }
    }
  }
}

describe("a run's events", () => {
  test("are its state at once, each change, and its end", async () => {
    const id = await queuedBackup();
    const client = await new EventClient().open(id);
    expect(client.response?.headers.get("content-type")).toBe("text/event-stream");
    await expect.poll(() => client.events.map(({ run }) => run.status)).toEqual(["queued"]);

    const run = await claimRun(api.db.system, { runId: id, worker: "test", leaseMs: 60_000 });
    if (run === null) throw new Error("not claimed");
    const claim = { runId: id, attemptToken: run.attemptToken };
    await expect.poll(() => client.events.at(-1)?.run.status).toBe("running");
    await recordProgress(api.db.system, claim, { phase: "copy", share: 0.5, tables: [] });
    await expect.poll(() => client.events.at(-1)?.run.progress?.share).toBe(0.5);
    await succeedRun(api.db.system, claim, null);
    await client.ended;
    expect(client.events.at(-1)).toMatchObject({ event: "end", run: { status: "succeeded" } });
    expect(client.events.slice(0, -1).every(({ event }) => event === "run")).toBe(true);

    const again = await new EventClient().open(id);
    await again.ended;
    expect(again.events.map(({ event }) => event)).toEqual(["end"]);
    const reconnected = await new EventClient().open(id, { "last-event-id": again.events[0]?.id ?? "" });
    expect(reconnected.response?.status).toBe(204);
    const confused = await new EventClient().open(id, { "last-event-id": "\u00ff'; no such event" });
    await confused.ended;
    expect(confused.events.map(({ event }) => event)).toEqual(["end"]);
  });

  test("of many clients cost one watch each, which ends when they leave", async () => {
    const id = await queuedBackup();
    const clients = await Promise.all(Array.from({ length: 30 }, () => new EventClient().open(id)));
    await expect.poll(() => clients.every(({ events }) => events.length === 1)).toBe(true);
    const watching = async (): Promise<string> =>
      /rowback_run_watchers (\d+)/.exec((await api.call("GET", "/metrics")).body)?.[1] ?? "";
    expect(await watching()).toBe("30");
    for (const client of clients.slice(0, 29)) client.leave();
    await expect.poll(watching).toBe("1");
    await finishBackup(api.db, id);
    await clients[29]?.ended;
    expect(clients[29]?.events.at(-1)?.event).toBe("end");
    await expect.poll(watching).toBe("0");
  });
});

describe("who sees a run", () => {
  test("a discovery is for operators, a tenant's run for its members, and nobody else hears of it", async () => {
    const discovery = runOf(await api.call("POST", `/v1/sources/${tenant.sourceId}/discovery`, { user: "olga" }));
    const backup = await queuedBackup();
    const stranger = await api.tenant();
    const ask = async (id: string, user: string) => {
      const response = await api.call("GET", `/v1/runs/${id}`, { user });
      return response.statusCode === 200 ? "seen" : JSON.stringify({ ...response.json(), requestId: "" });
    };
    expect([await ask(discovery.id, "olga"), await ask(backup, tenant.owner)]).toEqual(["seen", "seen"]);
    const unknown = await ask(randomUUID(), tenant.owner);
    expect(unknown).toContain('"status":404');
    expect([
      await ask(discovery.id, tenant.owner),
      await ask(backup, stranger.owner),
      await ask(backup, "olga"),
    ]).toEqual([unknown, unknown, unknown]);
    const events = await api.call("GET", `/v1/runs/${backup}/events`, { user: stranger.owner });
    expect(events.statusCode).toBe(404);
  });
});

describe("stopping a run of any kind", () => {
  const cancel = async (id: string, user: string) => {
    const response = await api.call("POST", `/v1/runs/${id}/cancel`, { user });
    return [response.statusCode, response.json().status];
  };
  const insert = async (kind: RunKind, tenantId: string | null): Promise<string> => {
    const run = { kind, tenantId, sourceId: tenant.sourceId, maxAttempts: 1, requestedBy: "somebody" };
    const result = await insertRun(api.db.system, run);
    if (result.outcome !== "created") throw new Error(result.outcome);
    return result.run.id;
  };

  test("needs the permission for its kind, and is noted", async () => {
    const [member, viewer] = [`member ${randomUUID()}`, `viewer ${randomUUID()}`];
    await api.member(tenant.id, member, "member");
    await api.member(tenant.id, viewer, "viewer");
    const expected: [RunKind, string, number][] = [
      ["backup_verify", member, 202],
      ["restore_point", member, 202],
      ["history", member, 202],
      ["restore_preview", member, 202],
      ["restore", member, 403],
      ["restore", tenant.owner, 202],
      ["tenant_erase", tenant.owner, 409],
      ["backup", "olga", 404],
    ];
    for (const [kind, user, status] of expected) {
      const id = await insert(kind, tenant.id);
      expect((await cancel(id, viewer))[0], kind).toBe(kind === "tenant_erase" ? 409 : 403);
      expect(await cancel(id, user), kind).toEqual([status, status === 202 ? "cancelled" : status]);
      if (kind === "restore") await cancel(id, tenant.owner);
    }
    const [entry] = (await listAuditEntries(api.db.system, tenant.id, { action: "run.cancel" })).items;
    expect(entry).toMatchObject({ userId: tenant.owner, before: { status: "queued" }, after: { kind: "restore" } });
  });

  test("that is no tenant's is an operator's to do", async () => {
    for (const kind of ["discovery", "capture_setup", "capture_teardown"] as const) {
      const id = await insert(kind, null);
      expect((await cancel(id, tenant.owner))[0]).toBe(404);
      expect(await cancel(id, "olga")).toEqual([202, "cancelled"]);
    }
  });

  test("tells the worker of a running one, and refuses one that has ended", async () => {
    const id = await insert("backup_verify", tenant.id);
    const run = await claimRun(api.db.system, { runId: id, worker: "test", leaseMs: 60_000 });
    if (run === null) throw new Error("not claimed");
    const claim = { runId: id, attemptToken: run.attemptToken };
    expect(await cancel(id, tenant.owner)).toEqual([202, "running"]);
    expect(await listCancelRequested(api.db.system, [claim])).toEqual([run.attemptToken]);
    await cancelRun(api.db.system, claim);
    expect((await cancel(id, tenant.owner))[0]).toBe(409);
  });
});
