import { randomUUID } from "node:crypto";
import cors from "@fastify/cors";
import helmet from "@fastify/helmet";
import { getRuns, hasEnded, type Run } from "@rowback/db";
import Fastify, { type FastifyInstance } from "fastify";
import { serializerCompiler, validatorCompiler } from "fastify-type-provider-zod";
import { auditReads } from "./audit-reads.ts";
import { accessTable } from "./auth/access-table.ts";
import { authentication } from "./auth/authenticate.ts";
import { createTokenVerifier } from "./auth/token-verifier.ts";
import type { ApiContext, ApiDependencies } from "./context.ts";
import { problems, sendProblem } from "./errors.ts";
import { metrics } from "./metrics.ts";
import { openapi } from "./openapi.ts";
import { rateLimiting } from "./rate-limiting.ts";
import { adminRoutes } from "./routes/admin.ts";
import { apiKeyRoutes } from "./routes/api-keys.ts";
import { auditLogRoutes } from "./routes/audit-log.ts";
import { backupRoutes } from "./routes/backups.ts";
import { captureRoutes } from "./routes/capture.ts";
import { erasureRoutes } from "./routes/erasure.ts";
import { momentRoutes } from "./routes/moments.ts";
import { restoreApprovalRoutes } from "./routes/restore-approvals.ts";
import { restoreRoutes } from "./routes/restores.ts";
import { runRoutes } from "./routes/runs.ts";
import { serviceRoutes } from "./routes/service.ts";
import { settingsRoutes } from "./routes/settings.ts";
import { sourceRoutes } from "./routes/sources.ts";
import { tenantRoutes } from "./routes/tenants.ts";
import { RunWatcher } from "./run-watcher.ts";

export type { ApiDependencies } from "./context.ts";

/** A browser sends its headers in one packet, whatever it sends after them. */
const HEADERS_TIMEOUT_MS = 10_000;
const CHECK_SOCKETS_EVERY_MS = 1_000;

/** Progress reaches the row about once a second; looking twice as often shows each step. */
const WATCH_INTERVAL_MS = 400;

/**
 * The whole HTTP API over the given connections, listening nowhere yet: `app.listen` serves it, `app.inject` tests it.
 * Closing it ends the streams and leaves the connections to the caller.
 */
export async function buildApp(deps: ApiDependencies): Promise<FastifyInstance> {
  const { settings } = deps;
  const app = Fastify({
    loggerInstance: deps.log,
    genReqId: () => randomUUID(),
    bodyLimit: settings.bodyLimitBytes,
    // For the bytes of a request to arrive: a client that trickles them must not hold a socket for ever.
    requestTimeout: settings.requestTimeoutMs,
    http: {
      headersTimeout: Math.min(HEADERS_TIMEOUT_MS, settings.requestTimeoutMs),
      // Node looks at its sockets every 30 s unless told: a time-out of 15 s would take up to 45.
      connectionsCheckingInterval: Math.min(CHECK_SOCKETS_EVERY_MS, settings.requestTimeoutMs),
    },
    // And for one that reads its answer not at all.
    connectionTimeout: settings.idleTimeoutMs,
    trustProxy: deps.trustedProxies?.length ? [...deps.trustedProxies] : false,
    forceCloseConnections: "idle",
    frameworkErrors: (error, request, reply) => {
      sendProblem(error, request, reply);
    },
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  limitHandlers(app, settings.requestTimeoutMs);
  const tokens = createTokenVerifier(settings.tokens, deps.log);
  const context: ApiContext = { ...deps, tokens, runWatcher: watchRuns(app, deps) };

  await app.register(accessTable);
  await app.register(problems);
  // No upgrade to HTTPS by force: TLS ends in front of us, and /docs must work on http://127.0.0.1.
  await app.register(helmet, {
    contentSecurityPolicy: { directives: { upgradeInsecureRequests: null } },
    // With helmet's no-referrer a browser hides the Origin of the sign-in form too, which /admin asks for.
    referrerPolicy: { policy: "same-origin" },
  });
  await app.register(cors, {
    origin: [...settings.corsOrigins],
    exposedHeaders: ["location", "preference-applied", "retry-after", "ratelimit", "ratelimit-policy"],
  });
  await app.register(authentication, { db: deps.db, tokens, limits: deps.limits, secretKey: settings.secretKey });
  // After the caller is known, and before anything costs.
  await app.register(rateLimiting, { limits: deps.limits });
  await app.register(auditReads, { db: deps.db });
  await app.register(metrics, { queueDepths: () => deps.queues.depths(), runWatchers: () => context.runWatcher.size });
  await app.register(openapi);
  for (const routes of [
    serviceRoutes,
    backupRoutes,
    runRoutes,
    restoreRoutes,
    restoreApprovalRoutes,
    momentRoutes,
    sourceRoutes,
    captureRoutes,
    tenantRoutes,
    apiKeyRoutes,
    auditLogRoutes,
    erasureRoutes,
    settingsRoutes,
    adminRoutes,
  ]) {
    await app.register(routes(context));
  }
  return app;
}

/** Routes that wait for a run state their own limit; a stream has none. */
function limitHandlers(app: FastifyInstance, timeoutMs: number): void {
  app.addHook("onRoute", (route) => {
    if (route.config?.isStream !== true) route.handlerTimeout ??= timeoutMs;
  });
}

function watchRuns(app: FastifyInstance, deps: ApiDependencies): RunWatcher<Run> {
  const runWatcher = new RunWatcher<Run>({
    load: (ids) => getRuns(deps.db.system, ids),
    hasEnded: (run) => hasEnded(run.status),
    onError: (err) => deps.log.warn({ err }, "the runs that clients follow could not be read; trying again"),
    intervalMs: WATCH_INTERVAL_MS,
  });
  // Before the server waits for its connections to end: these would not end by themselves.
  app.addHook("preClose", async () => runWatcher.close());
  return runWatcher;
}
