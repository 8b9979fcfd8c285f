import { RecoveryError } from "../errors.ts";
import type { SealKey } from "./sealed-block.ts";

/** Whose data a key seals: a tenant's, or what of a source can't be told to be any one tenant's. UUIDs. */
export type KeyOwner = { readonly tenantId: string } | { readonly sourceId: string };

/**
 * The data keys, opened. Every call asks the control database, so that a key that was destroyed is gone at once: keep what it answers for one
 * object (a backup, a segment), not longer.
 */
export interface KeyRing {
  /**
   * The key that seals what is written now; made when the owner has none.
   * @throws RecoveryError `key_missing` (the owner was erased), `key_wrong` (no master key at hand opens it)
   */
  current(owner: KeyOwner): Promise<SealKey>;
  /**
   * The key of that id, which sealed what is to be read.
   * @throws RecoveryError `key_missing` (destroyed, or never this owner's), `key_wrong`
   */
  get(owner: KeyOwner, keyId: string): Promise<SealKey>;
}

/** The key ring, where something needs it. @throws RecoveryError `key_missing` */
export function requireKeys(keys: KeyRing | undefined): KeyRing {
  if (keys !== undefined) return keys;
  throw new RecoveryError("key_missing", "This needs the master key, and none is set here", {
    hint: "Set ROWBACK_MASTER_KEY, ROWBACK_MASTER_KEY_FILE or ROWBACK_MASTER_KEY_COMMAND for every worker.",
  });
}
