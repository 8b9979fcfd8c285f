import { Readable } from "node:stream";
import {
  getRun,
  hasEnded,
  type Queryable,
  type Run,
  type RunKind,
  requestCancel,
  withSystem,
  withTenant,
} from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { audit } from "../audit.ts";
import { requirePermission } from "../auth/authenticate.ts";
import { callerOf } from "../auth/caller.ts";
import type { Permission } from "../auth/permissions.ts";
import { cancelledRun } from "../backup-state.ts";
import type { ApiContext } from "../context.ts";
import { notFound } from "../problem.ts";
import { IdParams, PROBLEMS } from "../responses.ts";
import { answerCancelled } from "../run-cancel.ts";
import { RunView, toRunView } from "../run-view.ts";
import { versionOf } from "../run-watcher.ts";

/** Proxies commonly cut a connection that is silent for 30 or 60 seconds. */
const HEARTBEAT_MS = 15_000;
/** What an EventSource waits before it connects again. */
const RECONNECT_MS = 2_000;

const EventStream = z
  .custom<Readable>((value) => value instanceof Readable)
  .meta({ description: "Text of server-sent events." });
const EventHeaders = z.looseObject({ "last-event-id": z.string().optional() });

/** Who may stop a run: who may ask for one of its kind, but for a backup, which has a permission of its own. Null: nobody. */
const CANCELLED_BY: Readonly<Record<RunKind, Permission | null>> = {
  backup: "backup:cancel",
  restore_point: "backup:cancel",
  backup_verify: "backup:verify",
  restore_preview: "restore:preview",
  history: "restore:preview",
  restore: "restore:apply",
  discovery: "source:manage",
  capture_setup: "source:manage",
  capture_teardown: "source:manage",
  // The key is gone already: to stop now would leave for ever what can't be read any more.
  tenant_erase: null,
};

export function runRoutes(api: ApiContext): FastifyPluginAsyncZod {
  const { db, runWatcher } = api;
  return async (app) => {
    app.get(
      "/v1/runs/:id",
      {
        config: { access: "run:read" },
        schema: {
          tags: ["runs"],
          summary: "A run, how far it is, and what came of it",
          params: IdParams,
          response: { 200: RunView, ...PROBLEMS },
        },
      },
      async (request) => toRunView(await visibleRun(db, request, request.params.id)),
    );

    app.post(
      "/v1/runs/:id/cancel",
      {
        config: { access: "run:read" },
        schema: {
          tags: ["runs"],
          summary: "Stop a run of any kind that is queued or running",
          description: "Needs the permission for runs of its kind, such as `backup:cancel` or `restore:apply`.",
          params: IdParams,
          response: { 202: RunView, ...PROBLEMS },
        },
      },
      async (request, reply) => {
        const {
          id: runId,
          kind,
          status: before,
          tenantId,
          sourceId,
        } = await visibleRun(db, request, request.params.id);
        const permission = CANCELLED_BY[kind];
        if (permission === null) throw new RecoveryError("conflict", "An erasure can't be stopped.", { runId });
        requirePermission(request, permission);
        const cancel = async (client: Queryable): Promise<Run> =>
          cancelledRun(await requestCancel(client, runId), "run", ({ status }) =>
            audit(client, request, {
              ...{ action: "run.cancel", tenantId, sourceId, runId },
              before: { status: before },
              after: { kind, status, cancelRequested: true },
            }),
          );
        const run = await (tenantId === null ? withSystem(db, cancel) : withTenant(db, tenantId, cancel));
        return answerCancelled(api, request, reply, run);
      },
    );

    app.get(
      "/v1/runs/:id/events",
      {
        exposeHeadRoute: false,
        config: { access: "run:read", isStream: true },
        schema: {
          tags: ["runs"],
          summary: "Server-sent events: `run` with the run's state at once and at each change, `end` with its last",
          description:
            "The stream ends with the run. A client that connects again with the Last-Event-ID of the end is answered 204, which tells an EventSource to stop.",
          params: IdParams,
          headers: EventHeaders,
          response: {
            200: { description: "Events", content: { "text/event-stream": { schema: EventStream } } },
            204: z.undefined().meta({ description: "The run has ended, and the client has seen its last state." }),
            ...PROBLEMS,
          },
        },
      },
      async (request, reply) => {
        const run = await visibleRun(db, request, request.params.id);
        if (hasEnded(run.status) && request.headers["last-event-id"] === versionOf(run)) return reply.code(204).send();
        const left = new AbortController();
        reply.raw.once("close", () => left.abort());
        const states = runWatcher.watch(run.id, { quietMs: HEARTBEAT_MS, signal: left.signal });
        return (
          reply
            .header("content-type", "text/event-stream")
            .header("cache-control", "no-store")
            .header("x-accel-buffering", "no")
            // The socket ends with the stream. Kept alive, it would keep a server that shuts down waiting for 72 s.
            .header("connection", "close")
            .send(Readable.from(eventsOf(states)))
        );
      },
    );
  };
}

/** A tenant's run for its members; a run that is no tenant's for operators; for everybody else there is none. */
async function visibleRun(db: ApiContext["db"], request: FastifyRequest, runId: string): Promise<Run> {
  const { tenant, isOperator } = callerOf(request);
  if (tenant !== null) {
    const run = await withTenant(db, tenant.id, (client) => getRun(client, runId));
    if (run !== null) return run;
  }
  if (isOperator) {
    const run = await getRun(db.system, runId);
    if (run !== null && run.tenantId === null) return run;
  }
  throw notFound("run");
}

/** The text of the stream: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation */
async function* eventsOf(states: AsyncIterable<Run | null>): AsyncGenerator<string> {
  yield `retry: ${RECONNECT_MS}\n\n`;
  for await (const run of states) {
    if (run === null) yield ": still here\n\n";
    else
      yield `event: ${hasEnded(run.status) ? "end" : "run"}\nid: ${versionOf(run)}\ndata: ${JSON.stringify(toRunView(run))}\n\n`;
  }
}
