import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyBaseLogger } from "fastify";
import { createRemoteJWKSet, errors, type JWTVerifyGetKey } from "jose";
import type { IssuedTokens } from "./token-settings.ts";

// A request waits this long for an issuer that is slow, and only where its token can't be checked without.
const TIMEOUT_MS = 5_000;
// A token names the key that is to check it, and anybody can write a token: names that nobody knows must not become a
// stream of requests to the issuer. A new key is known after this at the latest; issuers show one long before they use it.
const UNKNOWN_KEY_COOLDOWN_MS = 30_000;
// Between two attempts, whatever came of the first: an issuer that is down comes back no sooner for being asked more often.
const RETRY_MS = 5_000;
// An issuer that is down for an evening must not lock everybody out; a key that it withdrew must not count for ever.
const MAX_AGE_MS = 24 * 3_600_000;

/**
 * Finds the public key for a token among those that the issuer shows (RFC 7517). Keys are fetched at the first need,
 * again in the background once they are `cacheSeconds` old, and for a key id that nobody knows; while the issuer does
 * not answer, those at hand count for a day. Throws `unavailable` where there are none at all, and jose's errors for a
 * token that none of them fits: by key id, algorithm and key type together.
 */
export function issuerKeys(
  { jwksUrl, cacheSeconds }: Pick<IssuedTokens, "jwksUrl" | "cacheSeconds">,
  log: Pick<FastifyBaseLogger, "warn">,
): JWTVerifyGetKey {
  // jose fetches and picks; when it fetches is decided here alone.
  const never = Number.POSITIVE_INFINITY;
  const keys = createRemoteJWKSet(new URL(jwksUrl), {
    timeoutDuration: TIMEOUT_MS,
    cacheMaxAge: never,
    cooldownDuration: never,
  });
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let nextAttemptAt = Number.NEGATIVE_INFINITY;
  let pending: Promise<void> | undefined;

  const fetchKeys = async (): Promise<void> => {
    try {
      await keys.reload();
      fetchedAt = Date.now();
    } catch (err) {
      log.warn({ err }, "the keys of the tokens' issuer could not be fetched; trying again");
    }
    pending = undefined;
  };
  const refresh = async (): Promise<void> => {
    if (pending === undefined && Date.now() >= nextAttemptAt) {
      nextAttemptAt = Date.now() + RETRY_MS;
      pending = fetchKeys();
    }
    await pending;
  };
  const age = (): number => Date.now() - fetchedAt;

  return async (header, token) => {
    if (age() > MAX_AGE_MS) await refresh();
    else if (age() > cacheSeconds * 1000) void refresh();
    if (age() > MAX_AGE_MS) {
      throw new RecoveryError("unavailable", "The keys of the tokens' issuer can't be fetched.", {
        hint: "Try again in a moment; an operator finds the cause in the API's log.",
      });
    }
    try {
      return await keys(header, token);
    } catch (error) {
      if (!(error instanceof errors.JWKSNoMatchingKey) || age() < UNKNOWN_KEY_COOLDOWN_MS) throw error;
      await refresh();
      return await keys(header, token);
    }
  };
}
