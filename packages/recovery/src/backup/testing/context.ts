import { randomUUID } from "node:crypto";
import { testFolder } from "@rowback/local-services/testing";
import { type ObjectStore, openStore } from "@rowback/storage";
import { openSource, type Source } from "../../postgres/source.ts";
import type { ScopeRule, Tenancy } from "../../postgres/tenancy.ts";
import type { VerbContext } from "../../verb-context.ts";

export interface TestContext extends VerbContext {
  readonly store: ObjectStore;
  /** Aborts `signal`. */
  readonly abort: AbortController;
}

/** A source on this database, a store in a folder of its own, and a log that says nothing. Close the source. */
export async function testContext(
  url: string,
  options: { readonly tenancy?: Tenancy; readonly rules?: readonly ScopeRule[]; readonly maxConnections?: number } = {},
): Promise<TestContext> {
  const abort = new AbortController();
  return {
    source: testSource(url, options),
    store: openStore({ driver: "filesystem", root: await testFolder() }),
    clock: { now: () => new Date() },
    log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
    signal: abort.signal,
    abort,
  };
}

export function testSource(
  url: string,
  options: { readonly tenancy?: Tenancy; readonly rules?: readonly ScopeRule[]; readonly maxConnections?: number } = {},
): Source {
  return openSource({
    id: randomUUID(),
    connectionString: url,
    tenancy: options.tenancy ?? { mode: "column", column: "tenant_id" },
    rules: options.rules ?? [],
    maxConnections: options.maxConnections ?? 4,
    applicationName: "rowback-test",
  });
}

/** Ids for one backup. */
export function newBackup(): { readonly backupId: string; readonly tenantId: string } {
  return { backupId: randomUUID(), tenantId: randomUUID() };
}

export async function keysOf(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys;
}
