import { createBullBoard } from "@bull-board/api";
import { BullMQAdapter } from "@bull-board/api/bullMQAdapter";
import { FastifyAdapter } from "@bull-board/fastify";
import type { FastifyPluginAsyncZod } from "fastify-type-provider-zod";
import { z } from "zod";
import { adminSessionCookie } from "../auth/admin-session.ts";
import { requireOperator } from "../auth/authenticate.ts";
import type { ApiContext } from "../context.ts";

const BOARD = "/admin/queues";
const SESSION = "/admin/session";

const SIGN_IN_FORM = `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rowback queues</title></head>
<body><h1>Rowback queues</h1>
<form method="post" action="${SESSION}">
<label>An operator's token: <input type="password" name="token" autocomplete="off" required></label>
<button>Sign in</button>
</form></body></html>
`;

/** Bull Board, for operators. A browser comes to it through /admin/session, which exchanges a token for a short-lived cookie. */
export function adminRoutes({ db, queues, settings, tokens }: ApiContext): FastifyPluginAsyncZod {
  return async (app) => {
    app.addContentTypeParser("application/x-www-form-urlencoded", { parseAs: "string" }, (_request, body, done) => {
      done(null, Object.fromEntries(new URLSearchParams(body.toString())));
    });

    app.get(SESSION, { config: { access: "public" }, schema: { hide: true } }, async (_request, reply) =>
      reply.type("text/html; charset=utf-8").send(SIGN_IN_FORM),
    );

    app.post(
      SESSION,
      // Public, for the form carries the token in its body: the handler does what the hook does elsewhere.
      {
        config: { access: "public" },
        schema: { hide: true, body: z.object({ token: z.string().optional() }).nullish() },
      },
      async (request, reply) => {
        const userId = await tokens.userOf(request.body?.token ?? "");
        await requireOperator(db, userId, "queue:manage");
        const cookie = adminSessionCookie(userId, settings.secretKey, new Date(), request.protocol === "https");
        return reply.header("set-cookie", cookie).redirect(BOARD, 303);
      },
    );

    await app.register(async (board) => {
      board.addHook("onRoute", (route) => {
        route.config = { ...route.config, access: "queue:manage", signInAt: SESSION };
      });
      const adapter = new FastifyAdapter().setBasePath(BOARD);
      createBullBoard({ queues: queues.queues.map((queue) => new BullMQAdapter(queue)), serverAdapter: adapter });
      await board.register(adapter.registerPlugin(), { prefix: BOARD });
    });
  };
}
