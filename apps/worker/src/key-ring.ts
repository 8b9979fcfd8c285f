import { getTenantKey, insertTenantKey, type Queryable, type TenantKey } from "@rowback/db";
import {
  type KeyOwner,
  type KeyRing,
  type MasterKeys,
  newDataKey,
  type SealKey,
  unwrapDataKey,
} from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";

/**
 * The data keys of the control database, opened with the master keys of this process. Holds no data key itself.
 * @param workerName for the audit log, which tells of every key that is made
 */
export function openKeyRing(control: Queryable, masters: MasterKeys, workerName: string): KeyRing {
  const find = async (owner: KeyOwner): Promise<TenantKey | null> => {
    try {
      return await getTenantKey(control, owner);
    } catch (cause) {
      throw unavailable(owner, cause);
    }
  };
  return {
    current: async (owner) => {
      const present = await find(owner);
      if (present !== null) return opened(masters, owner, present);
      try {
        await insertTenantKey(control, newDataKey(masters, owner), workerName);
      } catch (cause) {
        throw unavailable(owner, cause);
      }
      // Asked again: another worker may have been first, and the key of an owner is the one in the table.
      return opened(masters, owner, await find(owner));
    },
    get: async (owner, keyId) => {
      const key = await find(owner);
      if (key !== null && key.id !== keyId)
        throw missing(owner, `Data key ${keyId} is not known in this control database`);
      return opened(masters, owner, key);
    },
  };
}

function opened(masters: MasterKeys, owner: KeyOwner, key: TenantKey | null): SealKey {
  if (key === null) throw missing(owner, "There is no data key of this owner in this control database");
  const { id, wrapped, masterKeyId, destroyedAt } = key;
  if (wrapped === null || masterKeyId === null) {
    throw missing(
      owner,
      `Data key ${id} was destroyed${destroyedAt === null ? "" : ` on ${destroyedAt.toISOString()}`}`,
    );
  }
  return unwrapDataKey(masters, { id, owner, wrapped, masterKeyId });
}

function missing(owner: KeyOwner, message: string): RecoveryError {
  return new RecoveryError("key_missing", message, {
    ...owner,
    hint: "What a destroyed key sealed is erased; a key lost with a control database comes back with that database's backup.",
  });
}

function unavailable(owner: KeyOwner, cause: unknown): RecoveryError {
  return new RecoveryError("unavailable", "The control database did not answer when asked for a data key", {
    ...owner,
    cause,
  });
}
