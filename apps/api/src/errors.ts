import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import fp from "fastify-plugin";
import { PROBLEM_MEDIA_TYPE, toProblem } from "./problem.ts";

/** Every failure leaves as a problem; the log has what the client must not see. */
export const problems = fp(async (app: FastifyInstance) => {
  app.setErrorHandler(sendProblem);
  app.setNotFoundHandler((request, reply) => {
    return sendProblem(new RecoveryError("not_found", "There is no such route."), request, reply);
  });
});

/** Answers with the problem of whatever was thrown. */
export function sendProblem(
  error: FastifyError | Error | unknown,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const problem = toProblem(error, request.id);
  if (problem.status >= 500) request.log.error({ err: error }, problem.title);
  else request.log.info({ code: problem.code, detail: problem.detail }, problem.title);
  if (problem.status === 401) reply.header("www-authenticate", "Bearer");
  if (problem.status === 503) reply.header("retry-after", "5");
  return reply.code(problem.status).type(PROBLEM_MEDIA_TYPE).send(problem);
}
