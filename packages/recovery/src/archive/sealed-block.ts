import { createCipheriv, createDecipheriv, hkdfSync, type KeyObject, randomBytes } from "node:crypto";
import { RecoveryError } from "../errors.ts";

/** A key and the name it is known by. The secret is a KeyObject: logged or printed by accident, it shows nothing. */
export interface SealKey {
  readonly id: string;
  /** 32 bytes. */
  readonly secret: KeyObject;
}

const CIPHER = "aes-256-gcm";
const INFO = "rowback sealed block v1";
const KEY_BYTES = 32;
const SALT_BYTES = 32;
const TAG_BYTES = 16;
/** Constant, because every block has a key of its own (docs/FORMAT.md, "Sealed block"). */
const NONCE = Buffer.alloc(12);

/** A sealed block is this many bytes longer than what it holds. */
export const SEAL_BYTES = SALT_BYTES + TAG_BYTES;

/** Seals bytes under a fresh key derived from this one, bound to `aad`: the place they belong to. */
export function sealBlock(key: SealKey, aad: Uint8Array, bytes: Uint8Array): Buffer {
  const salt = randomBytes(SALT_BYTES);
  const cipher = createCipheriv(CIPHER, blockKey(key, salt), NONCE);
  cipher.setAAD(aad);
  const ciphertext = cipher.update(bytes);
  cipher.final();
  return Buffer.concat([salt, ciphertext, cipher.getAuthTag()], bytes.length + SEAL_BYTES);
}

/**
 * What `sealBlock` was given; nothing is handed out before all of it is proved.
 * @throws RecoveryError `archive_damaged`: altered, cut, sealed for another place or with another key
 */
export function openBlock(key: SealKey, aad: Uint8Array, sealed: Uint8Array): Buffer {
  if (sealed.length < SEAL_BYTES) throw damaged();
  const decipher = createDecipheriv(CIPHER, blockKey(key, sealed.subarray(0, SALT_BYTES)), NONCE, {
    authTagLength: TAG_BYTES,
  });
  decipher.setAAD(aad);
  decipher.setAuthTag(sealed.subarray(-TAG_BYTES));
  const bytes = decipher.update(sealed.subarray(SALT_BYTES, -TAG_BYTES));
  try {
    decipher.final();
  } catch (cause) {
    throw damaged(cause);
  }
  return bytes;
}

/** A UUID's 16 bytes, as additional data has it. */
export function uuidBytes(uuid: string): Buffer {
  return Buffer.from(uuid.replaceAll("-", ""), "hex");
}

function blockKey(key: SealKey, salt: Uint8Array): Uint8Array {
  return new Uint8Array(hkdfSync("sha256", key.secret, salt, INFO, KEY_BYTES));
}

function damaged(cause?: unknown): RecoveryError {
  return new RecoveryError("archive_damaged", "A sealed block was altered, or is not the one that belongs there", {
    hint: "Restore from another backup, and check the object store.",
    cause,
  });
}
