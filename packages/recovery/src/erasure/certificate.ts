import { createHash } from "node:crypto";
import { z } from "zod";
import { canonicalJson } from "../restore/digest.ts";

const Count = z.int().nonnegative();
const Moment = z.iso.datetime();

/** That a tenant's data key was destroyed: what, when, by whom, and what follows from it. Made in the moment of the deed. */
export const ErasureCertificate = z.object({
  format: z.literal("rowback-erasure"),
  version: z.literal(1),
  tenant: z.object({ id: z.uuid(), name: z.string() }),
  source: z.object({ id: z.uuid(), name: z.string() }),
  runId: z.uuid().meta({ description: "The run that purges the objects." }),
  erasedAt: Moment,
  erasedBy: z.string(),
  /** Null: nothing of the tenant was ever sealed. */
  dataKey: z.object({ id: z.uuid(), createdAt: Moment, masterKeyId: z.string() }).nullable(),
  /** What was in the store in that moment. */
  backups: z.object({ encrypted: Count, inClear: Count, storedBytes: Count }),
  /** What this proves and what it does not, for people. */
  statements: z.array(z.string()),
  /** SHA-256 of the canonical JSON (members in order, no white space) of all other members. */
  digest: z.string(),
});
export type ErasureCertificate = z.infer<typeof ErasureCertificate>;

/** Pure. */
export function erasureCertificate(
  facts: Omit<ErasureCertificate, "format" | "version" | "statements" | "digest">,
): ErasureCertificate {
  const body = { format: "rowback-erasure", version: 1, ...facts, statements: statementsOf(facts) } as const;
  return { ...body, digest: digestOf(body) };
}

/** Whether it still says what it said. */
export function isIntact({ digest, ...body }: ErasureCertificate): boolean {
  return digest === digestOf(body);
}

function digestOf(body: Omit<ErasureCertificate, "digest">): string {
  return createHash("sha256").update(canonicalJson(body)).digest("hex");
}

function statementsOf({ dataKey, backups }: Pick<ErasureCertificate, "dataKey" | "backups">): string[] {
  const statements: string[] = [];
  if (dataKey !== null) {
    statements.push(
      `Data key ${dataKey.id} was destroyed in the control database; no new one will be made. Whatever it sealed can't be opened any more, in whichever copy of the objects.`,
      `Copies of the control database from before this moment still hold the data key, wrapped by master key ${dataKey.masterKeyId}: they have to expire, too.`,
    );
  }
  if (backups.inClear > 0) {
    statements.push(
      `${backups.inClear} backups were stored in clear: they are erased when the run has purged them, and copies made of those objects elsewhere are not.`,
    );
  }
  statements.push(
    "The purge takes the objects under the tenant's prefix out of the store, and the values of its rows out of the control database; segments of a change log, where the source has one, go with their own retention.",
  );
  return statements;
}
