import type { connectLimiter } from "@rowback/jobs";
import { type RateLimiterAbstract, RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";

export interface RateLimitSettings {
  /** Of one user, for one tenant, on one route, in a minute. */
  readonly readsPerMinute: number;
  readonly writesPerMinute: number;
  /** Of one address, that brought no valid token or key, in a minute. */
  readonly failuresPerMinute: number;
}

/** What is left of a limit after a request was counted. */
export interface Allowance {
  readonly policy: "reads" | "writes" | "failures" | "backups";
  readonly limit: number;
  readonly windowSeconds: number;
  readonly left: number;
  /** Seconds until the window ends, and with it the count. */
  readonly resetSeconds: number;
  readonly exceeded: boolean;
}

/** A request for a backup, to be counted. */
export interface BackupRequest {
  readonly tenantId: string;
  readonly userId: string;
  readonly perHour: number;
  /** The backups of the last hour, this one too, as the control database has them: asked where Redis does not answer. */
  readonly countRecent: () => Promise<number>;
}

type RequestKind = "reads" | "writes" | "failures";

export interface RateLimits {
  /** Counts a request. Never rejects: without Redis, this process counts by itself (decision 0046). */
  request(kind: RequestKind, key: string): Promise<Allowance>;
  /** Counts a backup. One too many is not counted, so that asking in vain does not put off the moment when it is allowed. */
  backup(request: BackupRequest): Promise<Allowance>;
}

const MINUTE = 60;
const HOUR = 3_600;
/** The limit of backups is a tenant's setting: the limiter only counts. */
const ONLY_COUNT = Number.MAX_SAFE_INTEGER;

/** Windows that begin with the first request, counted in Redis for all processes together. */
export function createRateLimits(
  redis: ReturnType<typeof connectLimiter>,
  prefix: string,
  settings: RateLimitSettings,
): RateLimits {
  const requestLimiter = (kind: RequestKind, points: number): RateLimiterAbstract => {
    const window = { points, duration: MINUTE, keyPrefix: `${prefix}:limit:${kind}` };
    const insuranceLimiter = new RateLimiterMemory(window);
    return new RateLimiterRedis({ ...window, storeClient: redis, rejectIfRedisNotReady: true, insuranceLimiter });
  };
  const limiters = {
    reads: requestLimiter("reads", settings.readsPerMinute),
    writes: requestLimiter("writes", settings.writesPerMinute),
    failures: requestLimiter("failures", settings.failuresPerMinute),
  };
  const backups = new RateLimiterRedis({
    storeClient: redis,
    rejectIfRedisNotReady: true,
    points: ONLY_COUNT,
    duration: HOUR,
    keyPrefix: `${prefix}:limit:backups`,
  });

  return {
    request: async (policy, key) => {
      const limit = limiters[policy].points;
      const used = await limiters[policy].consume(key).catch((refusal: unknown) => {
        if (refusal instanceof RateLimiterRes) return refusal;
        throw refusal;
      });
      return allowance(policy, limit, MINUTE, used.consumedPoints, used.msBeforeNext);
    },
    backup: async (request) => {
      const { tenantId, userId, perHour, countRecent } = request;
      const key = `${tenantId}:${userId}`;
      const used = await backups.consume(key).catch(() => null);
      if (used === null) return allowance("backups", perHour, HOUR, await countRecent(), HOUR * 1_000);
      if (used.consumedPoints > perHour) await backups.reward(key).catch(() => undefined);
      return allowance("backups", perHour, HOUR, used.consumedPoints, used.msBeforeNext);
    },
  };
}

function allowance(
  policy: Allowance["policy"],
  limit: number,
  windowSeconds: number,
  used: number,
  resetMs: number,
): Allowance {
  const resetSeconds = Math.max(1, Math.ceil(resetMs / 1_000));
  return { policy, limit, windowSeconds, left: Math.max(0, limit - used), resetSeconds, exceeded: used > limit };
}
