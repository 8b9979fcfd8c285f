import { type ControlDatabase, insertAuditEntry, type NewAuditEntry } from "@rowback/db";
import type { FastifyInstance, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { z } from "zod";
import { type Caller, callerOf } from "./auth/caller.ts";
import { isForMembers } from "./auth/permissions.ts";

/** What a read was of. */
export type AuditSubject = Pick<NewAuditEntry, "tenantId" | "sourceId" | "runId">;

declare module "fastify" {
  interface FastifyContextConfig {
    /** What the audit log calls the thing that this route reads, where that is not the noun of its permission. */
    auditNoun?: string;
    /** The route changes something outside the control database: its entry, of this action, is written before it acts. */
    auditBefore?: string;
    /** One of many routes that are one thing to people, such as the pages of a board: reads are noted as of this one. */
    auditPage?: string;
  }
  interface FastifyRequest {
    /** An entry about this request is in the audit log, or will be with its transaction. */
    isAudited: boolean;
    /** Set by `readsOf` where the URL does not tell. */
    auditSubject: AuditSubject | null;
  }
}

export interface AuditReadsOptions {
  readonly db: ControlDatabase;
  /** Tests turn the clock. */
  readonly now?: () => number;
}

/** One entry a minute for the same reads by the same user of the same thing, from the same address. */
export const READ_WINDOW_MS = 60_000;
// Some 300 bytes each. When there are more within a minute the oldest is forgotten, and its next read is noted again:
// entries too many, never one too few.
const REMEMBERED_READS = 10_000;

/**
 * Notes every answered request that no deed has noted: a read. That is so for each route that asks who calls, new ones
 * included; there is nothing to switch on, and nothing to switch off. The entry is written before the answer leaves: when
 * it can't be, the answer is a problem, and no data.
 */
export const auditReads = fp<AuditReadsOptions>(async (app: FastifyInstance, { db, now = Date.now }) => {
  const notes = new RecentReads(READ_WINDOW_MS, REMEMBERED_READS, now);
  app.decorateRequest("isAudited", false);
  app.decorateRequest("auditSubject", null);
  app.addHook("preHandler", async (request) => {
    const action = request.routeOptions.config.auditBefore;
    if (action === undefined) return;
    await insertAuditEntry(db.system, entryOf(request, action));
    request.isAudited = true;
  });
  app.addHook("onSend", async (request, reply) => {
    if (request.caller === null || request.isAudited || request.is404 || reply.statusCode >= 400) return;
    const entry = entryOf(request, `${nounOf(request)}.read`);
    await notes.note(JSON.stringify(entry), () => insertAuditEntry(db.system, entry));
    request.isAudited = true;
  });
});

/** Says what a read is of, where the URL does not: an operator's look at a tenant belongs into that tenant's log. */
export function readsOf(request: FastifyRequest, subject: AuditSubject): void {
  request.auditSubject = subject;
}

function entryOf(request: FastifyRequest, action: string): NewAuditEntry {
  const { auditBefore, auditPage } = request.routeOptions.config;
  const page = auditBefore === undefined ? auditPage : undefined;
  const params = page === undefined ? Params.parse(request.params ?? {}) : {};
  const { userId, apiKey } = callerOf(request);
  return {
    userId,
    action,
    ip: request.ip,
    ...subjectOf(request, callerOf(request)),
    after: {
      route: page ?? `${request.method} ${request.routeOptions.url ?? ""}`,
      ...(Object.keys(params).length === 0 ? {} : { params }),
      ...(apiKey === null ? {} : { apiKeyId: apiKey.id }),
    },
  };
}

const Params = z.record(z.string(), z.string());

/** The URLs whose `:id` is a column of the audit log. */
const SUBJECTS: readonly [string, (id: string) => AuditSubject][] = [
  ["/v1/backups/:id", (runId) => ({ runId })],
  ["/v1/restores/:id", (runId) => ({ runId })],
  ["/v1/runs/:id", (runId) => ({ runId })],
  ["/v1/sources/:id", (sourceId) => ({ sourceId })],
  ["/v1/tenants/:id", (tenantId) => ({ tenantId })],
];

function subjectOf(request: FastifyRequest, caller: Caller): AuditSubject {
  const { config, url = "" } = request.routeOptions;
  const { access = "public" } = config;
  // An operator's route is not about the tenant whose member the operator may happen to be.
  const aboutTenant = access === "any-user" || (access !== "public" && isForMembers(access));
  const id = Params.parse(request.params ?? {})["id"];
  const named = SUBJECTS.find(([pattern]) => url === pattern || url.startsWith(`${pattern}/`));
  return {
    tenantId: aboutTenant ? (caller.tenant?.id ?? null) : null,
    ...(named === undefined || id === undefined ? {} : named[1](id)),
    ...request.auditSubject,
  };
}

function nounOf(request: FastifyRequest): string {
  const { auditNoun, access = "any-user" } = request.routeOptions.config;
  if (auditNoun !== undefined) return auditNoun;
  const [noun = "tenant"] = access === "any-user" ? ["tenant"] : access.split(":");
  return noun;
}

/** Remembers which reads were noted within the window. */
export class RecentReads {
  // In the order of their times, so that the oldest is the first.
  readonly #noted = new Map<string, { readonly at: number; readonly written: Promise<void> }>();
  readonly #windowMs: number;
  readonly #most: number;
  readonly #now: () => number;

  constructor(windowMs: number, most: number, now: () => number) {
    this.#windowMs = windowMs;
    this.#most = most;
    this.#now = now;
  }

  /** Resolves when an entry for the key is written: by this call, or within the window before it. Rejects like `write`. */
  note(key: string, write: () => Promise<void>): Promise<void> {
    const now = this.#now();
    this.#forget(now);
    const known = this.#noted.get(key);
    if (known !== undefined) return known.written;
    const written = write().catch((error: unknown) => {
      // The next one tries again, instead of relying on an entry that is not there.
      this.#noted.delete(key);
      throw error;
    });
    this.#noted.set(key, { at: now, written });
    return written;
  }

  get size(): number {
    return this.#noted.size;
  }

  #forget(now: number): void {
    for (const [key, { at }] of this.#noted) {
      if (now - at < this.#windowMs && this.#noted.size < this.#most) return;
      this.#noted.delete(key);
    }
  }
}
