import pg from "pg";
import { z } from "zod";
import { runSql } from "../chaos/sql.ts";
import { compareReferences, lastBefore, type Mismatch } from "./compare.ts";
import type { Point } from "./points.ts";
import { type Reference, readReference, TABLE_NAMES } from "./reference.ts";
import { type OracleSystem, succeed } from "./system.ts";

/** The scratch database has the world's first schema: what changes its columns stays out. */
const TABLES = TABLE_NAMES.filter((name) => name !== "flex");

const Preview = z.looseObject({ result: z.looseObject({ digest: z.string() }) });

/** Restores every tenant to each moment into the scratch database, the way a user would, and reads it there. */
export async function restoreIntoScratch(
  system: OracleSystem,
  points: readonly Point[],
  signal: AbortSignal,
): Promise<Mismatch[]> {
  const mismatches: Mismatch[] = [];
  for (const point of points) {
    signal.throwIfAborted();
    // A row that has another tenant by the next moment would be in its way.
    await runSql(system.scratchUrl, "TRUNCATE accounts CASCADE");
    for (const tenant of system.tenants) {
      const target = "lsn" in point.target ? { lsn: asPostgres(lastBefore(point.target.lsn)) } : point.target;
      const wish = {
        target,
        targetSourceId: system.scratchId,
        mode: "exact",
        tables: TABLES.map((name) => `public.${name}`),
      };
      const previewId = await succeed(tenant.client, "/v1/restores/preview", wish);
      const preview = await tenant.client.call("GET", `/v1/runs/${previewId}`, Preview);
      await succeed(tenant.client, "/v1/restores", { previewId, planDigest: preview.result.digest });
    }
    const reference = only(await point.reference());
    const client = new pg.Client({ connectionString: system.scratchUrl });
    await client.connect();
    try {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      const found = await readReference(client, [...reference.keys()]);
      mismatches.push(...compareReferences(reference, found).map((one) => `restored: ${one}`));
    } finally {
      await client.end();
    }
  }
  return mismatches;
}

function asPostgres(digits: string): string {
  return `${digits.slice(0, 8)}/${digits.slice(8)}`.toUpperCase();
}

function only(reference: Reference): Reference {
  return new Map(
    [...reference].map(([account, tables]) => [
      account,
      new Map([...tables].filter(([table]) => TABLES.includes(table))),
    ]),
  );
}
