import { createSecretKey, randomBytes, randomUUID } from "node:crypto";
import { RecoveryError } from "../../errors.ts";
import type { KeyOwner, KeyRing } from "../key-ring.ts";
import type { SealKey } from "../sealed-block.ts";

export function testKey(): SealKey {
  return { id: randomUUID(), secret: createSecretKey(randomBytes(32)) };
}

/** Keys in memory, for tests without a control database. */
export class MemoryKeyRing implements KeyRing {
  /** By owner's id; what is deleted here is destroyed. */
  readonly keys: Map<string, SealKey>;

  constructor(keys: Iterable<readonly [ownerId: string, SealKey]> = []) {
    this.keys = new Map(keys);
  }

  async current(owner: KeyOwner): Promise<SealKey> {
    const id = ownerId(owner);
    const key = this.keys.get(id) ?? testKey();
    this.keys.set(id, key);
    return key;
  }

  async get(owner: KeyOwner, keyId: string): Promise<SealKey> {
    const key = this.keys.get(ownerId(owner));
    if (key?.id !== keyId) throw new RecoveryError("key_missing", `There is no key ${keyId}`);
    return key;
  }
}

function ownerId(owner: KeyOwner): string {
  return "tenantId" in owner ? owner.tenantId : owner.sourceId;
}
