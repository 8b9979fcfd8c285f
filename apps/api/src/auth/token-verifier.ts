import { createSecretKey } from "node:crypto";
import { RecoveryError } from "@rowback/recovery/errors";
import type { FastifyBaseLogger } from "fastify";
import { type JWTVerifyGetKey, type JWTVerifyOptions, jwtVerify } from "jose";
import { z } from "zod";
import { plainText } from "../plain-text.ts";
import { issuerKeys } from "./issuer-keys.ts";
import type { TokenSettings } from "./token-settings.ts";

/** Tells whose a bearer token is. */
export interface TokenVerifier {
  /**
   * The user's id: the `sub` of a valid token.
   * Throws `unauthenticated`, in the same words for whatever is wrong with it, and `unavailable` where no key is at hand.
   */
  userOf(token: string): Promise<string>;
}

/** All that is read from a token. Its other claims are its bearer's word about himself, and decide nothing (AUDIT B1). */
const Claims = z.object({ sub: plainText(200) });

// An issuer signs other things with the same keys: logout notes, security events, proofs of possession. They say so here
// (RFC 8725 §3.11); access tokens say one of these, or nothing.
const ACCESS_TOKEN_TYPES = new Set([undefined, "jwt", "at+jwt", "application/jwt", "application/at+jwt"]);

/** Checks tokens as the settings say. The algorithms are ours to name, never the token's: `none` is not among them. */
export function createTokenVerifier(settings: TokenSettings, log: Pick<FastifyBaseLogger, "warn">): TokenVerifier {
  const key = keyFinder(settings, log);
  const options: JWTVerifyOptions = {
    // By one kind of key each: a public key can't pass for the secret of an HS256 token.
    algorithms: settings.kind === "secret" ? ["HS256"] : ["RS256", "ES256", "EdDSA"],
    // A token without an end could never be taken back.
    requiredClaims: ["sub", "exp"],
    clockTolerance: settings.clockToleranceSeconds,
    ...(settings.issuer === null ? {} : { issuer: settings.issuer }),
    ...(settings.audience.length === 0 ? {} : { audience: [...settings.audience] }),
  };
  return {
    userOf: async (token) => {
      try {
        const { payload, protectedHeader } = await jwtVerify(token, key, options);
        if (!ACCESS_TOKEN_TYPES.has(protectedHeader.typ?.toLowerCase())) throw new Error("not an access token");
        return Claims.parse(payload).sub;
      } catch (cause) {
        throw cause instanceof RecoveryError ? cause : unauthenticated(cause);
      }
    },
  };
}

function keyFinder(settings: TokenSettings, log: Pick<FastifyBaseLogger, "warn">): JWTVerifyGetKey {
  if (settings.kind === "jwks") return issuerKeys(settings, log);
  const secret = createSecretKey(settings.secret, "utf8");
  return () => secret;
}

/** One answer for a missing, expired, altered or malformed credential: the difference helps only an attacker. */
export function unauthenticated(cause?: unknown): RecoveryError {
  return new RecoveryError("unauthenticated", "The request carries no valid bearer token.", {
    hint: "Send Authorization: Bearer <credential>: an unexpired JWT with sub and exp, or a live API key.",
    cause,
  });
}
