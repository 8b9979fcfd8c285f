import { z } from "zod";

/** What every token must say, whoever made it. */
interface ExpectedClaims {
  /** The `iss` that a token must have; null: any (only where the secret alone decides). */
  readonly issuer: string | null;
  /** A token's `aud` must name one of these; empty: any (only where the secret alone decides). */
  readonly audience: readonly string[];
  /** By how much the issuer's clock may differ from ours. */
  readonly clockToleranceSeconds: number;
}

/** HS256, for development: whoever can check a token can make one. */
interface SecretTokens extends ExpectedClaims {
  readonly kind: "secret";
  readonly secret: string;
}

/** RS256, ES256 or EdDSA, checked with the public keys that the issuer shows. */
export interface IssuedTokens extends ExpectedClaims {
  readonly kind: "jwks";
  readonly jwksUrl: string;
  readonly issuer: string;
  /** How old the keys may be before they are fetched again. */
  readonly cacheSeconds: number;
}

/** How bearer tokens are checked: in exactly one of two ways, so that none can choose the weaker. */
export type TokenSettings = SecretTokens | IssuedTokens;

// Compose files hand an unset variable over as an empty one.
const set = <T extends z.ZodType>(schema: T) => z.preprocess((text) => (text === "" ? undefined : text), schema);
const seconds = (least: number, most: number, otherwise: number) =>
  set(z.coerce.number().pipe(z.int().min(least).max(most)).default(otherwise));

const LOOPBACK = new Set(["127.0.0.1", "[::1]", "localhost"]);

/** Keys that came over an open line are anybody's keys. */
function isSafe(text: string): boolean {
  const url = URL.parse(text);
  if (url === null || url.username !== "" || url.password !== "") return false;
  return url.protocol === "https:" || (url.protocol === "http:" && LOOPBACK.has(url.hostname));
}

/** The part of the environment that says how tokens are checked. */
export const TokenEnvironment = z
  .object({
    /** HS256 is as strong as its key: RFC 7518 §3.2 asks for at least 256 bits. */
    JWT_SECRET: set(z.string().min(32).optional()),
    JWT_JWKS_URL: set(z.string().refine(isSafe, "must be an https:// URL without credentials").optional()),
    JWT_ISSUER: set(z.string().min(1).optional()),
    /** Comma-separated. */
    JWT_AUDIENCE: set(
      z
        .string()
        .transform((text) => text.split(",").map((item) => item.trim()))
        .refine((items) => items.every((item) => item !== ""), "must be one audience, or several with commas between")
        .optional(),
    ),
    JWT_CLOCK_TOLERANCE_SECONDS: seconds(0, 300, 5),
    JWT_JWKS_CACHE_SECONDS: seconds(30, 86_400, 600),
  })
  .superRefine((env, context) => {
    const problem = (name: string, message: string): void =>
      context.addIssue({ code: "custom", path: [name], message });
    if (env.JWT_SECRET !== undefined && env.JWT_JWKS_URL !== undefined)
      problem("JWT_SECRET", "must be left out where JWT_JWKS_URL is set: two ways in are one too many");
    if (env.JWT_SECRET === undefined && env.JWT_JWKS_URL === undefined)
      problem("JWT_JWKS_URL", "must be set, or JWT_SECRET for development");
    if (env.JWT_JWKS_URL === undefined) return;
    // An issuer's keys sign for all of its customers' applications: without these, a token for any of them would do here.
    if (env.JWT_ISSUER === undefined) problem("JWT_ISSUER", "must be set where JWT_JWKS_URL is");
    if (env.JWT_AUDIENCE === undefined) problem("JWT_AUDIENCE", "must be set where JWT_JWKS_URL is");
  })
  .transform((env): TokenSettings => {
    const audience = env.JWT_AUDIENCE ?? [];
    const clockToleranceSeconds = env.JWT_CLOCK_TOLERANCE_SECONDS;
    return env.JWT_JWKS_URL === undefined
      ? {
          kind: "secret",
          secret: env.JWT_SECRET ?? "",
          issuer: env.JWT_ISSUER ?? null,
          audience,
          clockToleranceSeconds,
        }
      : {
          kind: "jwks",
          jwksUrl: env.JWT_JWKS_URL,
          issuer: env.JWT_ISSUER ?? "",
          audience,
          clockToleranceSeconds,
          cacheSeconds: env.JWT_JWKS_CACHE_SECONDS,
        };
  });
