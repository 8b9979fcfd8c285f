import { createSigner } from "fast-jwt";
import { z } from "zod";
import { Client } from "./client.ts";
import { runSql } from "./sql.ts";
import { createTenantRows } from "./tenant-data.ts";
import { OPERATOR, type World } from "./world.ts";

/** A tenant and a client that acts for it. */
export interface ChaosTenant {
  readonly id: string;
  /** `t1` … */
  readonly key: string;
  readonly client: Client;
  /** Its application writes all the time, also during backups. */
  readonly busy: boolean;
}

export interface People {
  readonly tenants: readonly ChaosTenant[];
  /** An empty database with the same tables, to restore into. */
  readonly scratchId: string;
}

const Created = z.looseObject({ id: z.string() });
/** KiB of documents: most tenants are small, one needs several parts, and one writes while it is backed up. */
const TENANTS = [
  { key: "t1", documents: 40, busy: false },
  { key: "t2", documents: 300, busy: false },
  { key: "t3", documents: 12_000, busy: false },
  { key: "t4", documents: 5, busy: false },
  { key: "t5", documents: 800, busy: true },
] as const;

/**
 * Registers the sources and the tenants, and fills the tenants.
 * @param scale percent of their usual size
 */
export async function introducePeople(world: World, scale: number, signal: AbortSignal): Promise<People> {
  const sign = createSigner({ key: world.jwtSecret, algorithm: "HS256", expiresIn: 12 * 3_600_000 });
  const token = sign({ sub: OPERATOR });
  const clientOf = (tenantId: string | null): Client => new Client({ urls: world.apiUrls, token, tenantId, signal });
  const operator = clientOf(null);
  const sourceOf = async (name: string, variable: string): Promise<string> => {
    const tenancy = { mode: "column", column: "tenant_id" };
    const body = { name, connection: `env:${variable}`, tenancy };
    return (await operator.call("POST", "/v1/sources", Created, { body })).id;
  };
  const sourceId = await sourceOf("shop", "ROWBACK_SHOP_URL");
  const scratchId = await sourceOf("scratch", "ROWBACK_SCRATCH_URL");
  const tenants = [];
  for (const { key, documents, busy } of TENANTS) {
    await createTenantRows(world.urls.source, key, Math.ceil((documents * scale) / 100));
    const body = { sourceId, key, name: key };
    const { id } = await operator.call("POST", "/v1/tenants", Created, { body });
    const member = { userId: OPERATOR, role: "owner" };
    await operator.call("POST", `/v1/tenants/${id}/members`, z.unknown(), { body: member });
    tenants.push({ id, key, client: clientOf(id), busy });
  }
  // Deleted backups go at once, and nobody counts how many there are.
  await runSql(
    world.urls.control,
    `INSERT INTO tenant_settings (tenant_id, backups_per_hour, deleted_backup_grace_hours)
     SELECT id, 1000000, 0 FROM tenants ON CONFLICT (tenant_id) DO UPDATE SET backups_per_hour = 1000000, deleted_backup_grace_hours = 0`,
  );
  await operator.untilEnded(await operator.ask(`/v1/sources/${sourceId}/discovery`, {}));
  return { tenants, scratchId };
}
