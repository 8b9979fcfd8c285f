import { z } from "zod";

const Run = z.looseObject({
  id: z.string(),
  kind: z.string(),
  status: z.enum(["awaiting_approval", "queued", "running", "succeeded", "failed", "cancelled"]),
  progress: z.looseObject({ share: z.number() }).nullish(),
  result: z.unknown(),
  error: z.looseObject({ code: z.string(), message: z.string(), hint: z.string().nullish() }).nullish(),
});
export type Run = z.infer<typeof Run>;

const POLL_MS = 150;

/** The few calls of the HTTP API that the demo makes, as one user. */
export class ApiClient {
  readonly #baseUrl: string;
  readonly #token: string;
  readonly #signal: AbortSignal;

  constructor(options: { baseUrl: string; token: string; signal: AbortSignal }) {
    this.#baseUrl = options.baseUrl;
    this.#token = options.token;
    this.#signal = options.signal;
  }

  /** Sends one request and parses the answer; a problem answer is thrown with its code and hint. */
  async call<T>(method: "GET" | "POST" | "PATCH", path: string, answer: z.ZodType<T>, body?: unknown): Promise<T> {
    const response = await fetch(`${this.#baseUrl}${path}`, {
      method,
      headers: {
        authorization: `Bearer ${this.#token}`,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      signal: this.#signal,
    });
    const text = await response.text();
    if (!response.ok) {
      throw new Error(`${method} ${path} answered ${response.status}: ${text}`);
    }
    return answer.parse(text === "" ? null : JSON.parse(text));
  }

  /** Starts a run and follows it to its end. */
  async run(path: string, body: unknown, onProgress: (share: number) => void = () => {}): Promise<Run> {
    let run = await this.call("POST", path, Run, body);
    while (run.status === "queued" || run.status === "running") {
      onProgress(run.progress?.share ?? 0);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
      run = await this.call("GET", `/v1/runs/${run.id}`, Run);
    }
    if (run.status !== "succeeded") {
      throw new Error(
        `${run.kind} ${run.status}: ${run.error?.code} ${run.error?.message} (${run.error?.hint ?? "no hint"})`,
      );
    }
    onProgress(1);
    return run;
  }
}
