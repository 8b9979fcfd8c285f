import {
  type CommandLineAuthor,
  listKeysToRewrap,
  noteRotation,
  type Queryable,
  rewrapTenantKey,
  type TenantKey,
} from "@rowback/db";
import { type MasterKeys, rewrapDataKey } from "@rowback/recovery";
import { RecoveryError } from "@rowback/recovery/errors";

export interface RotationOutcome {
  readonly masterKeyId: string;
  readonly rewrapped: number;
  /** Keys that no master key at hand opens: they stay as they are. */
  readonly failed: readonly { readonly id: string; readonly masterKeyId: string }[];
}

const BATCH = 500;
/** Each is named; nobody reads more, and memory stays flat. */
const MOST_NAMED = 100;

/**
 * Wraps every data key with the current master key. No object is touched, runs may go on meanwhile, and a rotation that was broken off
 * is completed by the next one. Once it reports no failure, the older master keys are of no use any more.
 * @param by who asked for it, for the audit log: each owner's tells of its key, and at the end what is no tenant's of the rotation
 */
export async function rotateKeys(q: Queryable, masters: MasterKeys, by: CommandLineAuthor): Promise<RotationOutcome> {
  const masterKeyId = masters.current.id;
  const failed: { id: string; masterKeyId: string }[] = [];
  const count = { rewrapped: 0, failed: 0, gone: 0 };
  let after: string | null = null;
  for (;;) {
    const keys: TenantKey[] = await listKeysToRewrap(q, { masterKeyId, after, limit: BATCH });
    for (const key of keys) {
      const outcome = await rewrap(q, masters, key, by);
      count[outcome] += 1;
      if (outcome === "failed" && failed.length < MOST_NAMED)
        failed.push({ id: key.id, masterKeyId: key.masterKeyId ?? "" });
    }
    after = keys.at(-1)?.id ?? null;
    if (keys.length < BATCH) break;
  }
  await noteRotation(q, { masterKeyId, rewrapped: count.rewrapped, failed: count.failed }, by);
  return { masterKeyId, rewrapped: count.rewrapped, failed };
}

async function rewrap(
  q: Queryable,
  masters: MasterKeys,
  key: TenantKey,
  by: CommandLineAuthor,
): Promise<"rewrapped" | "failed" | "gone"> {
  const { id, wrapped, masterKeyId } = key;
  if (wrapped === null || masterKeyId === null) return "gone";
  try {
    const fresh = rewrapDataKey(masters, { id, owner: ownerOf(key), wrapped, masterKeyId });
    return (await rewrapTenantKey(q, { ...fresh, fromMasterKeyId: masterKeyId }, by)) ? "rewrapped" : "gone";
  } catch (error) {
    if (error instanceof RecoveryError && error.code === "key_wrong") return "failed";
    throw error;
  }
}

function ownerOf({ tenantId, sourceId }: TenantKey): { tenantId: string } | { sourceId: string } {
  return tenantId === null ? { sourceId: sourceId ?? "" } : { tenantId };
}
