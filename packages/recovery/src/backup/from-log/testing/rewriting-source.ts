import type { Source, SourceClient } from "../../../postgres/source.ts";

/** The same source, each statement of which goes through `rewrite` first. It lends one connection at a time. */
export function rewritingSource(source: Source, rewrite: (sql: string) => string): Source {
  return {
    id: source.id,
    tenancy: source.tenancy,
    rules: source.rules,
    connect: (fn, options) => source.connect((client) => fn(rewritingClient(client, rewrite)), options),
    tryConnect: () => null,
    replicationClient: () => source.replicationClient(),
    close: () => source.close(),
  };
}

function rewritingClient(client: SourceClient, rewrite: (sql: string) => string): SourceClient {
  return new Proxy(client, {
    get(target, property) {
      const value: unknown = Reflect.get(target, property, target);
      if (typeof value !== "function") return value;
      if (property !== "query") return value.bind(target);
      return (statement: unknown, ...rest: unknown[]) =>
        value.call(
          target,
          typeof statement === "string" ? rewrite(statement) : rewrittenConfig(statement, rewrite),
          ...rest,
        );
    },
  });
}

function rewrittenConfig(statement: unknown, rewrite: (sql: string) => string): unknown {
  if (typeof statement === "object" && statement !== null && "text" in statement && typeof statement.text === "string")
    return { ...statement, text: rewrite(statement.text) };
  return statement;
}
