import type { ControlDatabase, Run } from "@rowback/db";
import type { OpenQueues, Producer } from "@rowback/jobs";
import type { ObjectStore } from "@rowback/storage";
import type { FastifyBaseLogger } from "fastify";
import type { TokenVerifier } from "./auth/token-verifier.ts";
import type { ApiSettings } from "./config.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { RunWatcher } from "./run-watcher.ts";

/** What the app is given; the giver closes it, after the app. */
export interface ApiDependencies {
  readonly db: ControlDatabase;
  readonly producer: Producer;
  readonly queues: OpenQueues;
  readonly limits: RateLimits;
  /** Asked by /readyz alone: the API reads and writes no object. */
  readonly store: Pick<ObjectStore, "probe">;
  readonly settings: ApiSettings;
  readonly log: FastifyBaseLogger;
  /** Addresses or networks of the proxies that are believed about a client's address; none when left out. */
  readonly trustedProxies?: readonly string[];
}

/** What routes use. */
export interface ApiContext extends ApiDependencies {
  readonly runWatcher: RunWatcher<Run>;
  readonly tokens: TokenVerifier;
}
