import { createHash, createSecretKey, randomBytes, randomUUID } from "node:crypto";
import { RecoveryError } from "../errors.ts";
import type { KeyOwner } from "./key-ring.ts";
import { openBlock, type SealKey, sealBlock, uuidBytes } from "./sealed-block.ts";

const KEY_BYTES = 32;
const ID_DIGITS = 16;

/** The master keys a process knows: one that wraps what is new, and all that open what was wrapped before. */
export interface MasterKeys {
  readonly current: SealKey;
  readonly all: ReadonlyMap<string, SealKey>;
}

/** A data key as the control database keeps it. */
export interface WrappedDataKey {
  readonly id: string;
  readonly owner: KeyOwner;
  readonly masterKeyId: string;
  readonly wrapped: Uint8Array;
}

/**
 * Reads master keys: each the base64 of 32 bytes, parted by white space or commas; the first is the current one.
 * @throws RangeError that says which is wrong, and shows none of it
 */
export function parseMasterKeys(text: string): MasterKeys {
  const [current, ...older] = text
    .split(/[\s,]+/)
    .filter((word) => word !== "")
    .map(masterKey);
  if (current === undefined) throw new RangeError("there is no master key in it");
  return { current, all: new Map([...older, current].map((key) => [key.id, key])) };
}

function masterKey(word: string, index: number): SealKey {
  const bytes = Buffer.from(word, "base64");
  // Decoding passes over what is no base64; the round trip shows that nothing was passed over.
  if (bytes.length !== KEY_BYTES || bytes.toString("base64") !== word) {
    throw new RangeError(`master key ${index + 1} is not the base64 form of 32 bytes`);
  }
  const id = createHash("sha256").update("rowback master key id").update(bytes).digest("hex").slice(0, ID_DIGITS);
  return { id, secret: createSecretKey(bytes) };
}

/** A new data key for this owner, already wrapped. */
export function newDataKey({ current }: MasterKeys, owner: KeyOwner): WrappedDataKey {
  const id = randomUUID();
  const bytes = randomBytes(KEY_BYTES);
  return { id, owner, masterKeyId: current.id, wrapped: sealBlock(current, keyAad(owner, id), bytes) };
}

/** The same data key under the current master key. @throws RecoveryError `key_wrong` */
export function rewrapDataKey(masters: MasterKeys, key: WrappedDataKey): WrappedDataKey {
  const { current } = masters;
  const bytes = openWrapped(masters, key);
  return { ...key, masterKeyId: current.id, wrapped: sealBlock(current, keyAad(key.owner, key.id), bytes) };
}

/** @throws RecoveryError `key_wrong`: no master key at hand wrapped it, or it is not what was stored for this owner */
export function unwrapDataKey(masters: MasterKeys, key: WrappedDataKey): SealKey {
  return { id: key.id, secret: createSecretKey(openWrapped(masters, key)) };
}

function openWrapped(masters: MasterKeys, { id, owner, masterKeyId, wrapped }: WrappedDataKey): Buffer {
  const master = masters.all.get(masterKeyId);
  if (master === undefined) {
    throw new RecoveryError(
      "key_wrong",
      `Data key ${id} was wrapped by master key ${masterKeyId}; known here: ${[...masters.all.keys()].join(", ")}`,
      { ...owner, hint: "Add the older master key behind the current one, and run npm run keys:rotate." },
    );
  }
  try {
    return openBlock(master, keyAad(owner, id), wrapped);
  } catch (cause) {
    throw new RecoveryError("key_wrong", `Master key ${masterKeyId} does not open data key ${id}: it was altered`, {
      ...owner,
      hint: "Restore the control database's table tenant_keys from a backup.",
      cause,
    });
  }
}

function keyAad(owner: KeyOwner, id: string): Buffer {
  const [kind, ownerId] = "tenantId" in owner ? [0, owner.tenantId] : [1, owner.sourceId];
  return Buffer.concat([Buffer.from("rowback.key.v1"), Buffer.from([kind]), uuidBytes(ownerId), uuidBytes(id)]);
}
