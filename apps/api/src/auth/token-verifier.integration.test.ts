import { constants, createHmac, generateKeyPairSync, randomUUID, sign } from "node:crypto";
import type { ServerResponse } from "node:http";
import { RecoveryError } from "@rowback/recovery/errors";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import {
  type IssuerKey,
  issuedToken,
  issuerKey,
  publicJwk,
  showKeys,
  startTestIssuer,
  type TestIssuer,
} from "../testing/test-issuer.ts";
import type { TokenSettings } from "./token-settings.ts";
import { createTokenVerifier, type TokenVerifier } from "./token-verifier.ts";

const ISSUER = "https://id.example/";
const AUDIENCE = "rowback";
const SECONDS = 1000;

// Made once: an RSA key costs a tenth of a second.
const KEYS = (["RS256", "ES256", "EdDSA"] as const).map((alg) => issuerKey(alg));
let issuer: TestIssuer;
let verifier: TokenVerifier;
const warnings: unknown[] = [];
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() });
  warnings.length = 0;
  issuer = await startTestIssuer(KEYS);
  verifier = verifierOf({});
});
afterEach(async () => {
  vi.useRealTimers();
  await issuer.close();
});

function verifierOf(change: Partial<Extract<TokenSettings, { kind: "jwks" }>>): TokenVerifier {
  const settings: TokenSettings = {
    kind: "jwks",
    jwksUrl: issuer.jwksUrl,
    issuer: ISSUER,
    audience: [AUDIENCE],
    clockToleranceSeconds: 5,
    cacheSeconds: 600,
    ...change,
  };
  return createTokenVerifier(settings, { warn: (...args: unknown[]) => warnings.push(args) });
}

const now = (): number => Math.floor(Date.now() / 1000);
const pass = (ms: number): void => void vi.setSystemTime(Date.now() + ms);
const claims = (change: object = {}): object => ({
  sub: "ann",
  iss: ISSUER,
  aud: AUDIENCE,
  exp: now() + 48 * 3600,
  ...change,
});
const key = (alg: IssuerKey["alg"]): IssuerKey => {
  const found = issuer.keys.find((candidate) => candidate.alg === alg);
  if (found === undefined) throw new Error(`the issuer has no ${alg} key`);
  return found;
};

/** The user, or why there is none. */
async function verdict(token: string): Promise<string> {
  try {
    return await verifier.userOf(token);
  } catch (error) {
    return error instanceof RecoveryError ? error.code : `defect: ${String(error)}`;
  }
}

const good = (): string => issuedToken(key("ES256"), claims());
const nobodysKey = (): string => issuedToken(issuerKey("ES256"), claims());

describe("an issuer's token", () => {
  test.each(["RS256", "ES256", "EdDSA"] as const)("signed with %s names its user", async (alg) => {
    expect(await verdict(issuedToken(key(alg), claims()))).toBe("ann");
    expect(await verdict(issuedToken(key(alg), claims({ aud: ["other", AUDIENCE] }), { typ: undefined }))).toBe("ann");
  });

  test("may be off by the tolerance, and no more", async () => {
    expect(await verdict(issuedToken(key("RS256"), claims({ exp: now() - 3, nbf: now() + 3 })))).toBe("ann");
    expect(await verdict(issuedToken(key("RS256"), claims({ exp: now() - 6 })))).toBe("unauthenticated");
    expect(await verdict(issuedToken(key("RS256"), claims({ nbf: now() + 7 })))).toBe("unauthenticated");
  });

  const hmac = (secret: string | Buffer, header: object): string => {
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const text = `${part({ typ: "JWT", ...header })}.${part(claims())}`;
    return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
  };
  /** A token whose HMAC secret is the issuer's public key, in this form of it (algorithm confusion). */
  const confused = (secret: string | Buffer): string => hmac(secret, { alg: "HS256", kid: key("RS256").kid });
  const stolen = issuerKey("RS256");

  const FORGERIES: Record<string, () => string> = {
    "no algorithm": () => `${good().split(".").slice(0, 2).join(".")}.`,
    "alg none": () => issuedToken(key("RS256"), claims(), { alg: "none" }),
    "alg None": () => issuedToken(key("RS256"), claims(), { alg: "None" }),
    "HS256 by the public key": () => confused(key("RS256").publicKey.export({ format: "pem", type: "spki" })),
    "HS256 by the public key, trimmed": () =>
      confused(key("RS256").publicKey.export({ format: "pem", type: "spki" }).toString().trim()),
    "HS256 by the public key as PKCS#1": () =>
      confused(key("RS256").publicKey.export({ format: "pem", type: "pkcs1" })),
    "HS256 by the public key as DER": () => confused(key("RS256").publicKey.export({ format: "der", type: "spki" })),
    "HS256 by the key as shown": () => confused(JSON.stringify(publicJwk(key("RS256")))),
    "HS256 by nothing": () => confused(""),
    "a stranger's key under a known id": () => issuedToken(issuerKey("RS256", key("RS256").kid), claims()),
    "a stranger's key under its own id": nobodysKey,
    "an RSA key's id for ES256": () => issuedToken(key("ES256"), claims(), { kid: key("RS256").kid }),
    "an EC key's id for RS256": () => issuedToken(key("RS256"), claims(), { kid: key("ES256").kid }),
    "an RSA key's id for EdDSA": () => issuedToken(key("EdDSA"), claims(), { kid: key("RS256").kid }),
    "RS512 on an RS256 key": () => issuedToken(key("RS256"), claims(), { alg: "RS512" }),
    "PS256 on an RS256 key": () => issuedToken(key("RS256"), claims(), { alg: "PS256" }),
    "a key of its own inside": () => issuedToken(stolen, claims(), { kid: undefined, jwk: publicJwk(stolen) }),
    "a key of its own by address": () => issuedToken(stolen, claims(), { jku: `${issuer.jwksUrl}?stolen`, x5u: "x" }),
    "a path for an id": () => issuedToken(stolen, claims(), { kid: "../../../../dev/null" }),
    "SQL for an id": () => issuedToken(stolen, claims(), { kid: "' OR '1'='1" }),
    "an object's member for an id": () => issuedToken(stolen, claims(), { kid: "__proto__" }),
    "a list for an id": () => issuedToken(stolen, claims(), { kid: [stolen.kid] }),
    "an extension nobody knows": () => issuedToken(key("RS256"), claims(), { crit: ["x"], x: 1 }),
    "the type of a logout token": () => issuedToken(key("RS256"), claims(), { typ: "logout+jwt" }),
    "the type of a proof of possession": () => issuedToken(key("RS256"), claims(), { typ: "dpop+jwt" }),
    "a type that is no text": () => issuedToken(key("RS256"), claims(), { typ: 7 }),
    "another issuer": () => issuedToken(key("RS256"), claims({ iss: "https://id.example" })),
    "no issuer": () => issuedToken(key("RS256"), claims({ iss: undefined })),
    "another audience": () => issuedToken(key("RS256"), claims({ aud: "rowback-2" })),
    "other audiences": () => issuedToken(key("RS256"), claims({ aud: ["a", "b"] })),
    "no audience": () => issuedToken(key("RS256"), claims({ aud: undefined })),
    "an end that is over": () => issuedToken(key("RS256"), claims({ exp: now() - 600 })),
    "no end": () => issuedToken(key("RS256"), claims({ exp: undefined })),
    "an end that is no number": () => issuedToken(key("RS256"), claims({ exp: "never" })),
    "a beginning to come": () => issuedToken(key("RS256"), claims({ nbf: now() + 600 })),
    "no subject": () => issuedToken(key("RS256"), claims({ sub: undefined })),
    "an empty subject": () => issuedToken(key("RS256"), claims({ sub: "" })),
    "a subject with a NUL": () => issuedToken(key("RS256"), claims({ sub: "a\0" })),
    "a subject that is no text": () => issuedToken(key("RS256"), claims({ sub: { a: 1 } })),
    "altered claims": () => {
      const [header, , signature] = good().split(".");
      return `${header}.${Buffer.from(JSON.stringify(claims({ sub: "eve" }))).toString("base64url")}.${signature}`;
    },
    nonsense: () => "nonsense",
    nothing: () => "",
  };

  test.each(Object.keys(FORGERIES))("with %s is refused", async (name) => {
    expect(await verdict(good())).toBe("ann");
    pass(31 * SECONDS);
    expect(await verdict(FORGERIES[name]?.() ?? "")).toBe("unauthenticated");
    expect(await verdict(good())).toBe("ann");
    expect(issuer.requests()).toBeLessThanOrEqual(2);
  });
});

test("a shared secret's token is checked for HS256 alone, and for its claims where they are set", async () => {
  const secret = "s".repeat(32);
  const of = (issuedBy: string | null, audience: string[]): TokenVerifier =>
    createTokenVerifier({ kind: "secret", secret, issuer: issuedBy, audience, clockToleranceSeconds: 0 }, console);
  const signed = (alg: string, hash: string, change: object = {}): string => {
    const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
    const text = `${part({ alg })}.${part({ sub: "ann", exp: now() + 60, ...change })}`;
    return `${text}.${createHmac(hash, secret).update(text).digest("base64url")}`;
  };
  verifier = of(null, []);
  expect(await verdict(signed("HS256", "sha256"))).toBe("ann");
  expect(await verdict(signed("HS512", "sha512"))).toBe("unauthenticated");
  expect(await verdict(signed("none", "sha256"))).toBe("unauthenticated");
  expect(await verdict(good())).toBe("unauthenticated");
  verifier = of(ISSUER, [AUDIENCE]);
  expect(await verdict(signed("HS256", "sha256"))).toBe("unauthenticated");
  expect(await verdict(signed("HS256", "sha256", { iss: ISSUER, aud: AUDIENCE }))).toBe("ann");
});

describe("the issuer's keys", () => {
  test("are fetched once, however many ask at first, and then when they are old, without anybody waiting", async () => {
    const token = good();
    const verdicts = await Promise.all(Array.from({ length: 50 }, () => verdict(token)));
    expect([new Set(verdicts), issuer.requests()]).toEqual([new Set(["ann"]), 1]);
    pass(599 * SECONDS);
    expect([await verdict(token), issuer.requests()]).toEqual(["ann", 1]);
    pass(2 * SECONDS);
    const held = heldAnswers();
    expect(await verdict(token)).toBe("ann");
    await vi.waitFor(() => expect(held).toHaveLength(1));
    expect(await verdict(token)).toBe("ann");
    // Not even until the request was given up: it is still open.
    expect(held.map(({ destroyed }) => destroyed)).toEqual([false]);
    for (const response of held) showKeys(issuer, response);
  });

  test("rotate: a new one is found at its first use, a withdrawn one is forgotten", async () => {
    const old = key("RS256");
    const oldToken = issuedToken(old, claims());
    expect(await verdict(oldToken)).toBe("ann");
    const fresh = issuerKey("RS256");
    issuer.keys = [...issuer.keys, fresh];
    pass(31 * SECONDS);
    expect([await verdict(issuedToken(fresh, claims())), issuer.requests()]).toEqual(["ann", 2]);
    expect(await verdict(oldToken)).toBe("ann");
    issuer.keys = [fresh];
    pass(601 * SECONDS);
    await vi.waitFor(async () => expect(await verdict(oldToken)).toBe("unauthenticated"));
    expect([await verdict(issuedToken(fresh, claims())), issuer.requests()]).toEqual(["ann", 3]);
  });

  test("are not fetched for every id that somebody makes up", async () => {
    expect(await verdict(good())).toBe("ann");
    const flood = async (): Promise<void> => {
      for (let round = 0; round < 5; round += 1)
        await Promise.all(Array.from({ length: 20 }, () => verdict(nobodysKey())));
    };
    await flood();
    expect(issuer.requests()).toBe(1);
    pass(20 * SECONDS);
    await flood();
    expect(issuer.requests()).toBe(1);
    pass(11 * SECONDS);
    await flood();
    expect(issuer.requests()).toBe(2);
    issuer.answer = (response) => response.writeHead(500).end();
    pass(31 * SECONDS);
    await flood();
    expect(issuer.requests()).toBe(3);
    pass(4 * SECONDS);
    await flood();
    expect(issuer.requests()).toBe(3);
    pass(2 * SECONDS);
    await flood();
    expect(issuer.requests()).toBe(4);
    expect(await verdict(nobodysKey())).toBe("unauthenticated");
    expect(await verdict(good())).toBe("ann");
  });

  const BROKEN: [string, (response: ServerResponse) => void][] = [
    ["answers 500", (response) => response.writeHead(500).end()],
    ["hangs up", (response) => response.destroy()],
    ["answers with a page", (response) => response.writeHead(200).end("<html>")],
    ["answers with no keys at all", (response) => response.writeHead(200).end('{"keys":"none"}')],
    ["sends us elsewhere", (response) => response.writeHead(302, { location: "http://127.0.0.1:1/" }).end()],
  ];
  test.each(BROKEN)("go on counting for a day while the issuer %s", async (_, answer) => {
    expect(await verdict(good())).toBe("ann");
    issuer.answer = answer;
    for (const later of [601, 3600, 12 * 3600]) {
      pass(later * SECONDS);
      warnings.length = 0;
      expect(await verdict(good())).toBe("ann");
      await vi.waitFor(() => expect(warnings).not.toHaveLength(0));
    }
    pass(12 * 3600 * SECONDS);
    expect(await verdict(good())).toBe("unavailable");
    issuer.answer = (response) => showKeys(issuer, response);
    pass(6 * SECONDS);
    expect(await verdict(good())).toBe("ann");
  });

  test("an issuer that was never reached is a failure of ours, not of the token, until it is", async () => {
    issuer.answer = (response) => response.destroy();
    expect(await verdict(good())).toBe("unavailable");
    await Promise.all(Array.from({ length: 20 }, async () => expect(await verdict(good())).toBe("unavailable")));
    expect(issuer.requests()).toBe(1);
    expect(await verdict("nonsense")).toBe("unauthenticated");
    issuer.answer = (response) => showKeys(issuer, response);
    pass(6 * SECONDS);
    expect(await verdict(good())).toBe("ann");
  });

  test("with a slow issuer, only tokens that need new keys wait", async () => {
    expect(await verdict(good())).toBe("ann");
    pass(31 * SECONDS);
    const held = heldAnswers();
    const fresh = issuerKey("EdDSA", randomUUID());
    issuer.keys = [...issuer.keys, fresh];
    const waiting = verdict(issuedToken(fresh, claims()));
    await vi.waitFor(() => expect(held).toHaveLength(1));
    expect(await verdict(good())).toBe("ann");
    for (const response of held) showKeys(issuer, response);
    expect(await waiting).toBe("ann");
  });

  test("are used for our algorithms alone, also where they say of themselves nothing", async () => {
    const { kty, n, e } = z
      .looseObject({ kty: z.string(), n: z.string(), e: z.string() })
      .parse(publicJwk(key("RS256")));
    issuer.answer = (response) => response.writeHead(200).end(JSON.stringify({ keys: [{ kty, n, e }] }));
    const rsa = key("RS256").privateKey;
    const signed = (alg: string, hash: string, padding: number): string => {
      const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
      const text = `${part({ alg })}.${part(claims())}`;
      const salt = { saltLength: constants.RSA_PSS_SALTLEN_DIGEST };
      return `${text}.${sign(hash, Buffer.from(text), { key: rsa, padding, ...salt }).toString("base64url")}`;
    };
    expect(await verdict(signed("RS256", "sha256", constants.RSA_PKCS1_PADDING))).toBe("ann");
    expect(await verdict(signed("RS512", "sha512", constants.RSA_PKCS1_PADDING))).toBe("unauthenticated");
    expect(await verdict(signed("PS256", "sha256", constants.RSA_PKCS1_PSS_PADDING))).toBe("unauthenticated");
  });

  test("a symmetric key, a private one or a weak one among them lets nobody in", async () => {
    const jwks = {
      keys: [
        { kty: "oct", k: Buffer.from("s".repeat(32)).toString("base64url"), kid: "oct", alg: "HS256" },
        { ...leaked.privateKey.export({ format: "jwk" }), kid: "private", use: "sig" },
        publicJwk(weak),
      ],
    };
    issuer.answer = (response) => response.writeHead(200).end(JSON.stringify(jwks));
    expect(await verdict(issuedToken({ ...leaked, kid: "private" }, claims()))).toBe("unauthenticated");
    expect(await verdict(issuedToken({ ...leaked, kid: "oct" }, claims(), { alg: "HS256" }))).toBe("unauthenticated");
    expect(await verdict(issuedToken(weak, claims()))).toBe("unauthenticated");
    expect(issuer.requests()).toBe(1);
  });

  const leaked = issuerKey("ES256");
  const weak: IssuerKey = { kid: "weak", alg: "RS256", ...generateKeyPairSync("rsa", { modulusLength: 1024 }) };

  /** From now on requests to the issuer get no answer; they are kept here. */
  function heldAnswers(): ServerResponse[] {
    const held: ServerResponse[] = [];
    issuer.answer = (response) => void held.push(response);
    return held;
  }
});
