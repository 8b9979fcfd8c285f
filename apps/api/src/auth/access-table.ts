import type { FastifyInstance, RouteOptions } from "fastify";
import fp from "fastify-plugin";
import type { Access } from "./caller.ts";

/** One registered route and what it asks of its caller. */
export interface RouteAccess {
  readonly methods: readonly string[];
  readonly url: string;
  readonly access: Access;
}

declare module "fastify" {
  interface FastifyInstance {
    /** Every registered route; complete once the app is ready. */
    accessTable(): readonly RouteAccess[];
  }
}

/**
 * Keeps the list of all routes, and the app from starting when one does not say who may use it. Register it first:
 * Fastify tells of a route only to those who listened before.
 */
export const accessTable = fp(async (app: FastifyInstance) => {
  const routes: RouteOptions[] = [];
  app.addHook("onRoute", (route) => {
    routes.push(route);
  });
  const table = (): RouteAccess[] => routes.map(toRouteAccess);
  app.decorate("accessTable", table);
  app.addHook("onReady", async () => void table());
});

function toRouteAccess(route: RouteOptions): RouteAccess {
  const methods = [route.method].flat();
  // CORS answers preflights, which never carry a token, before they reach this route.
  const access = route.url === "*" && methods.includes("OPTIONS") ? "public" : route.config?.access;
  if (access === undefined) throw new Error(`${methods.join(", ")} ${route.url} does not say who may use it`);
  return { methods, url: route.url, access };
}
