import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { once } from "node:events";
import { createServer, type ServerResponse } from "node:http";

type Algorithm = "RS256" | "ES256" | "EdDSA";

export interface IssuerKey {
  readonly kid: string;
  readonly alg: Algorithm;
  readonly publicKey: KeyObject;
  readonly privateKey: KeyObject;
}

/** An identity provider with a real JWKS endpoint on 127.0.0.1. Its keys and its manners can be changed at any time. */
export interface TestIssuer {
  readonly jwksUrl: string;
  /** What the endpoint shows. */
  keys: IssuerKey[];
  /** How it answers; by default with its keys. */
  answer: (response: ServerResponse) => void;
  /** How often it was asked. */
  readonly requests: () => number;
  close(): Promise<void>;
}

export async function startTestIssuer(keys: readonly IssuerKey[]): Promise<TestIssuer> {
  let requests = 0;
  const server = createServer((_request, response) => {
    requests += 1;
    issuer.answer(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const issuer: TestIssuer = {
    jwksUrl: `http://127.0.0.1:${address.port}/keys`,
    keys: [...keys],
    answer: (response) => showKeys(issuer, response),
    requests: () => requests,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return issuer;
}

/** A key pair of the algorithm; its id is new where none is given. */
export function issuerKey(alg: Algorithm, kid: string = `${alg}-${crypto.randomUUID()}`): IssuerKey {
  return { kid, alg, ...generated(alg) };
}

function generated(alg: Algorithm): { publicKey: KeyObject; privateKey: KeyObject } {
  switch (alg) {
    case "RS256":
      return generateKeyPairSync("rsa", { modulusLength: 2048 });
    case "ES256":
      return generateKeyPairSync("ec", { namedCurve: "P-256" });
    case "EdDSA":
      return generateKeyPairSync("ed25519");
  }
}

/** The key as the endpoint shows it. */
export function publicJwk({ publicKey, kid, alg }: IssuerKey): object {
  return { ...publicKey.export({ format: "jwk" }), kid, alg, use: "sig" };
}

export function showKeys(issuer: TestIssuer, response: ServerResponse): void {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify({ keys: issuer.keys.map(publicJwk) }));
}

/** A token signed with the key (RFC 7518 §3), made without the library that checks it. `header` can lie about all of it. */
export function issuedToken(key: IssuerKey, claims: object, header: object = {}): string {
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part({ alg: key.alg, kid: key.kid, typ: "at+jwt", ...header })}.${part(claims)}`;
  const signingKey = { key: key.privateKey, dsaEncoding: "ieee-p1363" as const };
  return `${text}.${sign(key.alg === "EdDSA" ? null : "sha256", Buffer.from(text), signingKey).toString("base64url")}`;
}
