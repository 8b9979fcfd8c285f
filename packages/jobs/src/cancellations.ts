import { z } from "zod";
import { connectConsumer, type QueueLocation } from "./connection.ts";

const RunId = z.uuid();

/** Where a cancellation is told to all workers. */
export function cancellationChannel(prefix: string): string {
  return `${prefix}:cancellations`;
}

/**
 * Hears of cancelled runs as soon as somebody tells of them. Word of mouth: whoever hears it asks the database whether it
 * is so, and what is lost on the way (Redis was away) the next look into the database finds a second later.
 * @returns how to stop listening
 */
export function listenForCancellations(
  { redisUrl, prefix }: QueueLocation,
  onCancelled: (runId: string) => void,
  onError: (error: Error) => void,
): () => void {
  const redis = connectConsumer(redisUrl, onError);
  redis.on("message", (_channel: string, message: string) => {
    const runId = RunId.safeParse(message);
    if (runId.success) onCancelled(runId.data);
  });
  // Made anew by ioredis after every lost connection.
  redis.subscribe(cancellationChannel(prefix)).catch(onError);
  return () => redis.disconnect();
}
