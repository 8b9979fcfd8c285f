import { z } from "zod";
import type { KnownBackup } from "../load.ts";
import type { ChaosTenant, People } from "../people.ts";
import { rowsOf } from "../sql.ts";
import { digestOf, TOTAL } from "../tenant-data.ts";
import type { World } from "../world.ts";

const BackupRow = z.object({ id: z.string(), key: z.string(), purpose: z.string() });
const PlanDigest = z.looseObject({ digest: z.string() });

/**
 * Every backup that says it succeeded: one of a whole tenant is restored into an empty database and must be, row for row, what was backed
 * up; one of some tables, made before a restore, is verified. By the API, as a customer would. Returns what is not as it should be.
 */
export async function checkRestores(
  world: World,
  people: People,
  known: ReadonlyMap<string, readonly KnownBackup[]>,
): Promise<{ readonly checked: number; readonly corrupt: string[] }> {
  const backups = await rowsOf(
    world.urls.control,
    BackupRow,
    `SELECT b.run_id AS id, t.key, b.purpose FROM backup_jobs b JOIN runs r ON r.id = b.run_id JOIN tenants t ON t.id = b.tenant_id
     WHERE r.status = 'succeeded' AND b.deleted_at IS NULL ORDER BY r.created_at`,
  );
  const corrupt: string[] = [];
  await Promise.all(
    people.tenants.map(async (tenant) => {
      const digests = new Map(known.get(tenant.key)?.map(({ id, digest }) => [id, digest]));
      for (const { id, purpose } of backups.filter(({ key }) => key === tenant.key)) {
        const wrong = await (purpose === "manual"
          ? restoreElsewhere(world, tenant, people.scratchId, { id, digest: digests.get(id) ?? null })
          : verify(tenant, id)
        ).catch((error: unknown) => `can't be checked: ${error instanceof Error ? error.message : String(error)}`);
        if (wrong !== null) corrupt.push(`${tenant.key}: backup ${id} ${wrong}`);
      }
    }),
  );
  return { checked: backups.length, corrupt };
}

/** Nothing is broken any more: a run that takes longer than this is lost. */
function patience(): AbortSignal {
  return AbortSignal.timeout(120_000);
}

async function verify({ client }: ChaosTenant, id: string): Promise<string | null> {
  const run = await client.untilEnded(await client.ask(`/v1/backups/${id}/verify`, undefined), patience());
  return run.status === "succeeded" ? null : `can't be verified: ${run.error?.code} ${run.error?.message}`;
}

async function restoreElsewhere(
  world: World,
  { client, key }: ChaosTenant,
  targetSourceId: string,
  backup: KnownBackup,
): Promise<string | null> {
  const request = { backupId: backup.id, targetSourceId };
  const preview = await client.untilEnded(await client.ask("/v1/restores/preview", request), patience());
  if (preview.status !== "succeeded")
    return `can't be previewed: ${preview.status} ${preview.error?.code} ${preview.error?.message}`;
  const { digest } = PlanDigest.parse(preview.result);
  const restore = await client.untilEnded(
    await client.ask("/v1/restores", { previewId: preview.id, planDigest: digest }),
    patience(),
  );
  if (restore.status !== "succeeded")
    return `can't be restored: ${restore.status} ${restore.error?.code} ${restore.error?.message}`;
  const restored = await digestOf(world.urls.scratch, key);
  if (restored.total !== TOTAL) return `is torn: its balances add up to ${restored.total}`;
  return backup.digest === null || restored.digest === backup.digest
    ? null
    : "restores to other rows than were backed up";
}
