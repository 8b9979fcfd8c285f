import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { type ControlDatabase, findLiveApiKey, recordApiKeyUse } from "@rowback/db";
import type { FastifyBaseLogger } from "fastify";
import { notFound } from "../problem.ts";
import type { Caller } from "./caller.ts";
import { unauthenticated } from "./token-verifier.ts";

// A mark that secret scanners can look for, a prefix that finds the row, and 256 random bits.
const FORM = /^rbk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/;

interface PresentedKey {
  readonly prefix: string;
  readonly secretSha256: Buffer;
}

/** A new key: its text, which nobody can show again, and what is kept of it. */
export function newApiKey(): PresentedKey & { readonly text: string } {
  const prefix = randomBytes(8).toString("hex");
  const secret = randomBytes(32).toString("base64url");
  return { text: `rbk_${prefix}_${secret}`, prefix, secretSha256: sha256(secret) };
}

/** The parts of a bearer credential that has the form of an API key; null: it is something else. */
export function readApiKey(bearer: string): PresentedKey | null {
  const [, prefix, secret] = FORM.exec(bearer) ?? [];
  return prefix === undefined || secret === undefined ? null : { prefix, secretSha256: sha256(secret) };
}

/**
 * Who a request with an API key acts as: the member who made it, in the key's tenant alone, in his present role and no
 * further than the key's scopes; never as an operator. Throws `unauthenticated` for a key that does not count, and
 * `not_found` where the request names another tenant, in the words for one that does not exist.
 */
export async function findKeyCaller(
  db: ControlDatabase,
  presented: PresentedKey,
  namedTenant: string | undefined,
  log: Pick<FastifyBaseLogger, "warn">,
): Promise<Caller> {
  const key = await findLiveApiKey(db.system, presented.prefix);
  if (key === null || !timingSafeEqual(key.secretSha256, presented.secretSha256)) throw unauthenticated();
  if (namedTenant !== undefined && namedTenant.toLowerCase() !== key.tenantId) throw notFound("tenant");
  if (key.isUseStale) {
    try {
      await recordApiKeyUse(db.system, key.id);
    } catch (err) {
      log.warn({ err, apiKeyId: key.id }, "an API key's use could not be noted");
    }
  }
  return {
    userId: key.userId,
    isOperator: false,
    tenant: { id: key.tenantId, role: key.role },
    apiKey: { id: key.id, scopes: key.scopes },
  };
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
