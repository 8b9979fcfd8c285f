import { Redis } from "ioredis";

/** Where the queues live. Two prefixes share one Redis without seeing each other. */
export interface QueueLocation {
  /** `redis://` or `rediss://` */
  readonly redisUrl: string;
  readonly prefix: string;
}

// A request waits behind these: a Redis that does not answer within two seconds will not be waited for, because the
// row is written already and the sweeper will enqueue it.
const PRODUCER_TIMEOUT_MS = 2_000;

/** For those who must not wait (the API): fails fast when Redis is gone, reconnects in the background. */
export function connectProducer(redisUrl: string, onError: (error: Error) => void): Redis {
  const redis = new Redis(redisUrl, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    connectTimeout: PRODUCER_TIMEOUT_MS,
    commandTimeout: PRODUCER_TIMEOUT_MS,
    retryStrategy: reconnectAfterMs,
  });
  redis.on("error", onError);
  return redis;
}

// A rate limit that can't be asked at once is counted in the process instead; every request would wait for it.
const LIMITER_TIMEOUT_MS = 250;

/** For rate limits: fails faster still. */
export function connectLimiter(redisUrl: string, onError: (error: Error) => void): Redis {
  const redis = new Redis(redisUrl, {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    connectTimeout: PRODUCER_TIMEOUT_MS,
    commandTimeout: LIMITER_TIMEOUT_MS,
    retryStrategy: reconnectAfterMs,
  });
  redis.on("error", onError);
  return redis;
}

/** For those who have nothing else to do (workers): every command waits until Redis is back. */
export function connectConsumer(redisUrl: string, onError: (error: Error) => void): Redis {
  const redis = new Redis(redisUrl, { maxRetriesPerRequest: null, retryStrategy: reconnectAfterMs });
  redis.on("error", onError);
  return redis;
}

/** Never gives up, never waits longer than two seconds: a worker is useful again that soon after Redis is. */
function reconnectAfterMs(times: number): number {
  return Math.min(100 * 2 ** Math.min(times, 5), 2_000);
}
