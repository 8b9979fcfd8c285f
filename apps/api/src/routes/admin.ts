import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { FastifyAdapter } from "@bull-board/fastify";
import { insertAuditEntry } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyRequest } from "fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { adminSessionCookie } from "../auth/admin-session.ts";
import { requireOperator } from "../auth/authenticate.ts";
import type { ApiContext } from "../context.ts";
import { sendProblem } from "../errors.ts";
import { toProblem } from "../problem.ts";
import { limitedFailure } from "../rate-limiting.ts";

const BOARD = "/admin/queues";
const SESSION = "/admin/session";
const SAFE_METHODS = new Set(["GET", "HEAD", "OPTIONS"]);

const SIGN_IN_FORM = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rowback queues</title></head>
<body><h1>Rowback queues</h1>
<form method="post" action="${SESSION}">
<label>An operator's token: <input type="password" name="token" autocomplete="off" required></label>
<button>Sign in</button>
</form></body></html>
`;

/** Bull Board, for operators. A browser comes to it through /admin/session, which exchanges a token for a short-lived cookie. */
export function adminRoutes({ db, limits, queues, settings, tokens }: ApiContext): FastifyPluginAsyncZod {
  return async (app) => {
    app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) => {
      done(null, Object.fromEntries(new URLSearchParams(body.toString())));
    });

    app.get(SESSION, { config: { access: "public" }, schema: { hide: true } }, async (_request, reply) =>
      reply.type("text/html; charset=utf-8").send(SIGN_IN_FORM),
    );

    // A cookie comes along whoever asks; only the board's own pages may make use of it, or plant one.
    app.addHook("onRequest", async (request, reply) => {
      if (!SAFE_METHODS.has(request.method) && request.headers.authorization === undefined && !isSameOrigin(request))
        return sendProblem(crossOrigin(), request, reply);
    });

    app.post(
      SESSION,
      // Public, for the form carries the token in its body: the handler does what the hook does elsewhere.
      {
        config: { access: "public" },
        schema: { hide: true, body: z.object({ token: z.string().optional() }).nullish() },
      },
      async (request, reply) => {
        const userId = await tokens.userOf(request.body?.token ?? "").catch(async (error: unknown) => {
          throw await limitedFailure(limits, request, reply, error);
        });
        await requireOperator(db, userId, "queue:manage");
        await insertAuditEntry(db.system, { userId, action: "queue.sign-in", ip: request.ip });
        const cookie = adminSessionCookie(userId, settings.secretKey, new Date(), request.protocol === "https");
        return reply.header("set-cookie", cookie).redirect(BOARD, 303);
      },
    );

    await app.register(async (board) => {
      board.addHook("onRoute", (route) => {
        const changes = [route.method].flat().some((method) => !SAFE_METHODS.has(method));
        const audit = changes ? { auditBefore: "queue.change" } : { auditPage: `GET ${BOARD}` };
        route.config = { ...route.config, access: "queue:manage", signInAt: SESSION, ...audit };
      });
      board.addHook("onError", async (request, _reply, err) => {
        request.log.error({ err }, "the queues' board failed");
      });
      const adapter = new FastifyAdapter().setBasePath(BOARD);
      createBullBoard({ queues: queues.queues.map((queue) => new BullMQAdapter(queue)), serverAdapter: adapter });
      // Its own handler would show the words of whatever was thrown, and in development the stack.
      adapter.setErrorHandler((error) => ({
        status: toProblem(error, "").status < 500 ? 400 : 500,
        body: { error: "The board can't do that; the log says why." },
      }));
      await board.register(adapter.registerPlugin(), { prefix: BOARD });
    });
  };
}

/**
 * Whether a browser says that the request comes from a page of this very host: by Sec-Fetch-Site, or where a browser
 * sends none (plain http) by Origin. SameSite=Strict alone lets a sister domain through.
 * https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html
 */
function isSameOrigin({ headers, host }: FastifyRequest): boolean {
  const site = headers["sec-fetch-site"];
  if (site !== undefined) return site === "same-origin";
  return headers.origin !== undefined && URL.parse(headers.origin)?.host === host;
}

function crossOrigin(): RecoveryError {
  return new RecoveryError("forbidden", "This request does not come from a page of Rowback.", {
    hint: "Use the board in a browser, or send Authorization: Bearer <token>.",
  });
}
