import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";

const VERSION = "v1";
const CIPHER = "aes-256-gcm";
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A sealed text that is malformed, was altered, or was sealed with another key. */
export class SealedSecretError extends Error {
  override readonly name = "SealedSecretError";
}

/**
 * Seals a secret with AES-256-GCM under a fresh random nonce.
 * @param key 32 bytes (ROWBACK_SECRET_KEY)
 * @returns `v1.<base64url of nonce, tag and ciphertext>`; the version is authenticated too
 */
export function sealSecret(plain: string, key: Buffer): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv(CIPHER, keyOf32Bytes(key), nonce);
  cipher.setAAD(Buffer.from(VERSION));
  const body = Buffer.concat([cipher.update(plain, "utf8"), cipher.final()]);
  return `${VERSION}.${Buffer.concat([nonce, cipher.getAuthTag(), body]).toString("base64url")}`;
}

/** The secret again. Throws SealedSecretError when the text was altered, cut, or sealed with another key. */
export function openSecret(sealed: string, key: Buffer): string {
  const [version, text, ...rest] = sealed.split(".");
  const bytes = Buffer.from(text ?? "", "base64url");
  // base64url decoding ignores what it doesn't know; the round trip shows that nothing was ignored.
  if (
    version !== VERSION ||
    rest.length > 0 ||
    bytes.length < NONCE_BYTES + TAG_BYTES ||
    bytes.toString("base64url") !== text
  ) {
    throw new SealedSecretError(`not a sealed secret of version ${VERSION}`);
  }
  const decipher = createDecipheriv(CIPHER, keyOf32Bytes(key), bytes.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(Buffer.from(VERSION));
  decipher.setAuthTag(bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES));
  try {
    const body = bytes.subarray(NONCE_BYTES + TAG_BYTES);
    return Buffer.concat([decipher.update(body), decipher.final()]).toString("utf8");
  } catch (cause) {
    throw new SealedSecretError("the sealed secret was altered, or sealed with another key", { cause });
  }
}

function keyOf32Bytes(key: Buffer): Buffer {
  if (key.length !== 32) throw new SealedSecretError(`the key must have 32 bytes, not ${key.length}`);
  return key;
}
