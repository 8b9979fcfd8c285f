import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import pRetry, { AbortError } from "p-retry";
import { z } from "zod";

export const Run = z.looseObject({
  id: z.string(),
  kind: z.string(),
  status: z.enum(["queued", "running", "succeeded", "failed", "cancelled"]),
  result: z.unknown(),
  error: z.looseObject({ code: z.string(), message: z.string() }).nullish(),
});
export type Run = z.infer<typeof Run>;

/** A 4xx: sending it again would not help. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly status: number;
  readonly code: string;

  constructor(status: number, code: string, detail: string) {
    super(`${status} ${code}: ${detail}`);
    this.status = status;
    this.code = code;
  }
}

/** What was acknowledged with 202: it must be there at the end. */
export interface Asked {
  readonly runId: string;
  readonly path: string;
}

const ANSWER_WITHIN_MS = 15_000;
const POLL_MS = 200;
const RETRY = { retries: 60, minTimeout: 100, maxTimeout: 2_000, factor: 1.5, randomize: true };

/** One user's end of the API, as a good client is: it sends again what got no answer, to whichever API answers, under the same key. */
export class Client {
  readonly #urls: readonly string[];
  readonly #token: string;
  readonly #signal: AbortSignal;
  readonly #tenantId: string | null;
  #at = 0;
  readonly asked: Asked[] = [];
  /** Answers to one key that named another run than the first did. */
  readonly doubles: string[] = [];

  constructor(options: { urls: readonly string[]; token: string; tenantId: string | null; signal: AbortSignal }) {
    this.#urls = options.urls;
    this.#token = options.token;
    this.#tenantId = options.tenantId;
    this.#signal = options.signal;
  }

  /** Sends until there is an answer. Throws Problem for a 4xx. */
  call<T>(
    method: "GET" | "POST" | "DELETE",
    path: string,
    answer: z.ZodType<T>,
    request: { readonly body?: unknown; readonly key?: string } = {},
  ): Promise<T> {
    return pRetry(() => this.#once(method, path, answer, request), { ...RETRY, signal: this.#signal });
  }

  /** Asks for a run. @param twice sends the request again after its answer: the same run must come back */
  async ask(path: string, body: unknown, twice = false): Promise<Run> {
    const key = randomUUID();
    const run = await this.call("POST", path, Run, { body, key });
    this.asked.push({ runId: run.id, path });
    if (twice) {
      const again = await this.call("POST", path, Run, { body, key });
      if (again.id !== run.id) this.doubles.push(`${path}: ${run.id} and ${again.id}`);
    }
    return run;
  }

  /** Rejects when `patience` is over: a run that was lost never ends. */
  async untilEnded(run: Run, patience?: AbortSignal): Promise<Run> {
    for (let last = run; ; last = await this.call("GET", `/v1/runs/${run.id}`, Run)) {
      if (last.status !== "queued" && last.status !== "running") return last;
      patience?.throwIfAborted();
      await delay(POLL_MS, undefined, { signal: this.#signal });
    }
  }

  async #once<T>(
    method: string,
    path: string,
    answer: z.ZodType<T>,
    { body, key }: { readonly body?: unknown; readonly key?: string },
  ): Promise<T> {
    this.#at += 1;
    const url = this.#urls[this.#at % this.#urls.length];
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(this.#tenantId === null ? {} : { "x-tenant-id": this.#tenantId }),
        ...(key === undefined ? {} : { "idempotency-key": key }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(ANSWER_WITHIN_MS)]),
    }).catch((error: unknown) => {
      // fetch's own word for a broken connection is a TypeError, which p-retry would take for a defect.
      throw new Error(`${method} ${path}: no answer`, { cause: error });
    });
    const text = await response.text();
    if (response.ok) return answer.parse(text === "" ? null : JSON.parse(text));
    if (response.status >= 500 || response.status === 429)
      throw new Error(`${method} ${path}: ${response.status} ${text}`);
    const problem = ProblemBody.safeParse(JSON.parse(text));
    const { code, detail } = problem.success ? problem.data : { code: "unknown", detail: text };
    throw new AbortError(new Problem(response.status, code, detail));
  }
}

const ProblemBody = z.looseObject({ code: z.string(), detail: z.string() });
