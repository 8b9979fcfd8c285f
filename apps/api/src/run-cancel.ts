import type { Run } from "@rowback/db";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { ApiContext } from "./context.ts";
import { type RunView, toRunView } from "./run-view.ts";

/**
 * After the commit: tells the workers that the run's cancellation was asked for, and answers. Where Redis does not
 * answer, the run's worker finds it in the row, a second later.
 */
export async function answerCancelled(
  { producer }: Pick<ApiContext, "producer">,
  request: FastifyRequest,
  reply: FastifyReply,
  run: Run,
): Promise<RunView> {
  if (run.status === "running") {
    // Not waited for: the answer must not hang with Redis.
    producer.tellOfCancellation(run.id).catch((error: unknown) => {
      request.log.warn({ err: error, runId: run.id }, "the workers were not told of the cancellation; they will look");
    });
  }
  reply.code(202).header("location", `/v1/runs/${run.id}`);
  return toRunView(run);
}
