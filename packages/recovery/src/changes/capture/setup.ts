import { RecoveryError } from "../../errors.ts";
import { type CatalogCache, readCatalog } from "../../postgres/catalog.ts";
import { tableKey } from "../../postgres/catalog-lookup.ts";
import type { Finding } from "../../postgres/finding.ts";
import { quoteName } from "../../postgres/identifiers.ts";
import type { Source, SourceClient } from "../../postgres/source.ts";
import { type TableName, tableLabel } from "../../postgres/tenancy.ts";
import { captureFindings, captureNames, isPublished, publicationStatement, publishable } from "./capture-findings.ts";
import { planCapture } from "./capture-plan.ts";
import { dropDdlTriggerStatement } from "./ddl-trigger.ts";
import { readNextXid } from "./read-published.ts";
import { createSlot, dropSlot, readSlot, type SlotStart } from "./slot.ts";
import { readReadiness, type SourceReadiness } from "./source-readiness.ts";

export interface SetupContext {
  readonly source: Source;
  readonly catalogCache: CatalogCache;
  readonly signal: AbortSignal;
}

export interface SetupOutcome {
  readonly slotName: string;
  readonly publicationName: string;
  /** The tables that are captured. */
  readonly tables: readonly TableName[];
  readonly findings: readonly Finding[];
  /** A new slot, and so a new epoch; null where the one there was goes on. */
  readonly start: SlotStart | null;
  /**
   * Tables that joined the publication of a slot that goes on: their changes are in the log from the first full backup on that shows
   * this transaction.
   */
  readonly joined: { readonly tables: readonly TableName[]; readonly causeXid: bigint } | null;
}

/**
 * Makes a source's publication and slot, or brings the publication up to date. What would break the customer's application is
 * refused before anything is changed.
 * @param captured whether the source is captured already: its slot stays, if it is still good
 * @throws RecoveryError `capture_refused` with what to run; `source_*`, `cancelled`
 */
export async function setUpCapture(ctx: SetupContext, { captured }: { captured: boolean }): Promise<SetupOutcome> {
  const { source, signal } = ctx;
  const names = captureNames(source.id);
  const { readiness, findings } = await source.connect((client) => examine(client, ctx), { signal });
  refuseErrors(source.id, findings);
  const before = new Set(readiness.published?.map(tableKey));
  await source.connect((client) => publish(client, readiness, names.publicationName), { signal });
  const tables = publishable(readiness);
  const goesOn = captured && !(await source.connect((client) => readSlot(client, names.slotName), { signal })).lost;
  if (goesOn) {
    const joining = tables.filter((table) => !before.has(tableKey(table)));
    const joined =
      joining.length === 0 ? null : { tables: joining, causeXid: await whenOlderOnesEnded(source, signal) };
    return { ...names, tables, findings, start: null, joined };
  }
  // The name is this source's alone: what is there was left by a setup that died, or is lost.
  await dropSlot(source, names.slotName, signal);
  return { ...names, tables, findings, start: await createSlot(source, names, signal), joined: null };
}

/** Drops a source's slot, its publication, and the event triggers if they are the role's own (without the publication they say nothing). What is not there is fine. Throws RecoveryError. */
export async function tearDownCapture({ source, signal }: Pick<SetupContext, "source" | "signal">): Promise<void> {
  const { slotName, publicationName } = captureNames(source.id);
  await dropSlot(source, slotName, signal);
  await source.connect(
    async (client) => {
      await client.query(`DROP PUBLICATION IF EXISTS ${quoteName(publicationName)}`);
      await client.query(dropDdlTriggerStatement(publicationName));
    },
    { signal },
  );
}

async function examine(
  client: SourceClient,
  { source, catalogCache }: SetupContext,
): Promise<{ readonly readiness: SourceReadiness; readonly findings: readonly Finding[] }> {
  const plan = planCapture(await readCatalog(client, catalogCache), source.tenancy, source.rules);
  const wanted = [...plan.values()].map(({ table }) => table);
  const names = captureNames(source.id);
  const readiness = await readReadiness(client, names, wanted);
  return { readiness, findings: captureFindings(readiness, plan, names) };
}

function refuseErrors(sourceId: string, findings: readonly Finding[]): void {
  const errors = findings.filter((finding) => finding.severity === "error");
  const [first, ...others] = errors;
  if (first === undefined) return;
  const where = first.table === null ? "" : `${tableLabel(first.table)}: `;
  const more = others.length === 0 ? "" : ` (and ${others.length} more)`;
  throw new RecoveryError("capture_refused", `${where}${first.message}${more}`, {
    sourceId,
    table: first.table === null ? undefined : tableLabel(first.table),
    hint: errors
      .map((finding) => finding.hint)
      .slice(0, 20)
      .join("\n"),
  });
}

async function publish(client: SourceClient, readiness: SourceReadiness, publicationName: string): Promise<void> {
  if (isPublished(readiness)) return;
  if (publishable(readiness).length === 0)
    throw new RecoveryError("capture_refused", "No table of the source holds tenants' rows.", {
      hint: "Correct the source's tenancy or rules.",
    });
  await client.query(publicationStatement(readiness, publicationName));
}

/** How often to look whether the transactions that began before the publication changed have ended. */
const LOOK_EVERY_MS = 200;

/**
 * Waits for every transaction that may have written to a table before it was published, as making a slot does; a transaction id
 * that only snapshots after that can show.
 */
async function whenOlderOnesEnded(source: Source, signal: AbortSignal): Promise<bigint> {
  return await source.connect(
    async (client) => {
      const published = await readNextXid(client);
      for (;;) {
        const { rows } = await client.query(
          "SELECT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot())::text AS xmin",
        );
        if (BigInt(String(rows[0]?.xmin)) >= published) return await readNextXid(client);
        await new Promise((resolve) => setTimeout(resolve, LOOK_EVERY_MS));
        signal.throwIfAborted();
      }
    },
    { signal },
  );
}
