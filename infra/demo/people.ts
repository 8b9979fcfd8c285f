import { addOperator, openControlDatabase } from "@rowback/db";
import { createSigner } from "fast-jwt";
import { z } from "zod";
import { ApiClient } from "./api-client.ts";
import type { TenantDigest } from "./proof.ts";
import type { RunningSystem } from "./services.ts";

export const OPERATOR = "olga@rowback.example";
const MEMBER = "anna@acme.example";
const TOKEN_LIFETIME_MS = 12 * 3_600_000;

const NAMES = ["Acme Studio", "Bakery Ōsaka", 'Café "Zoé"', "Delta\\Logistics", "Echo 🚀 Labs"];

export interface People {
  readonly operator: ApiClient;
  /** An admin of the first tenant, and of no other. */
  readonly member: ApiClient;
  readonly operatorToken: string;
  readonly memberToken: string;
  readonly sourceId: string;
  readonly tenants: readonly { readonly name: string; readonly rows: number }[];
}

const Created = z.looseObject({ id: z.string() });

/** Makes the first operator, who registers the sample database as a source, its customers as tenants, and Anna as Acme's admin. */
export async function introduceTenants(
  system: RunningSystem,
  accounts: readonly TenantDigest[],
  signal: AbortSignal,
): Promise<People> {
  const control = openControlDatabase({ url: system.controlUrl, maxConnections: 1, applicationName: "rowback-demo" });
  await addOperator(control.system, OPERATOR).finally(() => control.close());

  const sign = createSigner({ key: system.jwtSecret, algorithm: "HS256", expiresIn: TOKEN_LIFETIME_MS });
  const [operatorToken, memberToken] = [sign({ sub: OPERATOR }), sign({ sub: MEMBER })];
  const operator = new ApiClient({ baseUrl: system.apiUrl, token: operatorToken, signal });
  const member = new ApiClient({ baseUrl: system.apiUrl, token: memberToken, signal });

  const source = await operator.call("POST", "/v1/sources", Created, {
    name: "sample-saas",
    connection: "env:ROWBACK_SAMPLE_URL",
    tenancy: { mode: "column", column: "account_id" },
  });
  const tenants = [];
  for (const [index, account] of accounts.entries()) {
    const name = NAMES[index] ?? account.account;
    const tenant = await operator.call("POST", "/v1/tenants", Created, {
      sourceId: source.id,
      key: account.account,
      name,
    });
    tenants.push({ id: tenant.id, name, rows: account.rows });
  }
  const acme = tenants[0];
  if (acme === undefined) throw new Error("the sample database has no customers");
  await operator.call("POST", `/v1/tenants/${acme.id}/members`, z.null(), { userId: MEMBER, role: "admin" });
  return { operator, member, operatorToken, memberToken, sourceId: source.id, tenants };
}
