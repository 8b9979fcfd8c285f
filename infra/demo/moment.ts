import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { z } from "zod";
import type { ApiClient } from "./api-client.ts";
import type { People } from "./people.ts";
import { check, heading, line, progressBar } from "./print.ts";
import { changedTenants, digestTenants, sameTenant, type TenantDigest } from "./proof.ts";

/** The capture tells every two seconds how far it is, and holds a time for certain a second later. */
const REACHED_WITHIN_MS = 60_000;
const POLL_MS = 250;

const Window = z.looseObject({ ranges: z.array(z.object({ from: z.string(), to: z.string() })) });
const Preview = z.looseObject({
  digest: z.string(),
  tables: z.array(z.looseObject({ insert: z.number(), update: z.number(), delete: z.number() })),
});

export interface MomentStory {
  readonly people: People;
  readonly sampleUrl: string;
  /** The tenant's key. */
  readonly tenant: string;
  /** What goes wrong. */
  readonly mistake: () => Promise<void>;
}

/**
 * The second half of the promise: work that no backup holds is brought back, as it was at one moment between two backups.
 * @returns false where the server writes no logical WAL (it is somebody's own), so that half is left out
 */
export async function tellOfMoments({ people, sampleUrl, tenant, mistake }: MomentStory): Promise<boolean> {
  const sql = await connect(sampleUrl);
  try {
    heading("15:00  From now on, keep every change");
    const level = z.tuple([z.object({ wal_level: z.string() })]).parse((await sql.query("SHOW wal_level")).rows);
    if (level[0].wal_level !== "logical") {
      line(`left out: this server has wal_level = ${level[0].wal_level}, and a change log needs logical`);
      return false;
    }
    // A table without a key: what a row was can only be told by all of it.
    await sql.query("ALTER TABLE page_views REPLICA IDENTITY FULL");
    await people.operator.run(`/v1/sources/${people.sourceId}/capture`, {});
    await people.member.run("/v1/backups", {}, progressBar("backup"));

    heading("15:20  An hour of work goes on, for Acme and for everybody else");
    for (const statement of WORK) await sql.query(statement, [tenant]);
    const worked = await digestTenants(sampleUrl);
    const moment = await clockOf(sql);
    line(`it is ${moment}; no backup holds this`);

    heading("15:31  The same mistake again; at 15:35 comes the next backup");
    await mistake();
    await sql.query(OTHERS_GO_ON, [tenant]);
    await people.member.run("/v1/backups", {}, progressBar("backup"));
    const ruined = await digestTenants(sampleUrl);
    check(changedTenants(worked, ruined).includes(tenant), "both backups miss it: one is too old, one too late");

    heading(`15:40  Restore Acme to ${moment}, between two backups`);
    await untilReached(people.member, moment);
    const preview = await people.member.run("/v1/restores/preview", { target: { time: moment } });
    const { digest, tables } = Preview.parse(preview.result);
    const sum = (count: "insert" | "update" | "delete"): number =>
      tables.reduce((total, table) => total + table[count], 0);
    line(`preview: ${sum("insert")} rows to insert, ${sum("update")} to update, ${sum("delete")} to delete`);
    await people.member.run("/v1/restores", { previewId: preview.id, planDigest: digest }, progressBar("restore"));
    await prove(sampleUrl, tenant, { worked, ruined });
    return true;
  } finally {
    await sql.end();
  }
}

async function prove(
  sampleUrl: string,
  tenant: string,
  { worked, ruined }: { readonly worked: readonly TenantDigest[]; readonly ruined: readonly TenantDigest[] },
): Promise<void> {
  const restored = await digestTenants(sampleUrl);
  check(sameTenant(worked, restored, tenant), "Acme is, row for row, what it was at that moment, the work included");
  check(changedTenants(ruined, restored).join() === tenant, "no row of the four other customers was touched");
  check(changedTenants(worked, ruined).length > 1, "though they had gone on working");
}

/** `$1`: the tenant. Everybody writes, the tenant most. */
const WORK = [
  `UPDATE tasks SET title = title || ' (done)' WHERE id % 50 = 0 OR (account_id = $1 AND id % 7 = 0)`,
  `INSERT INTO labels SELECT $1, 'new ' || n, B'000000000000000000000001' FROM generate_series(1, 5) n`,
  `DELETE FROM page_views WHERE account_id = $1 AND path = '/p/3'`,
  `UPDATE users SET full_name = full_name || ' jr.' WHERE account_id = $1 AND id % 10 = 0`,
];
const OTHERS_GO_ON = "UPDATE tasks SET title = title || '!' WHERE account_id <> $1 AND id % 40 = 0";

async function clockOf(sql: pg.Client): Promise<string> {
  const { rows } = await sql.query(
    `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS now`,
  );
  return z.tuple([z.object({ now: z.string() })]).parse(rows)[0].now;
}

async function untilReached(member: ApiClient, moment: string): Promise<void> {
  const deadline = Date.now() + REACHED_WITHIN_MS;
  for (;;) {
    const { ranges } = await member.call("GET", "/v1/recovery-window", Window);
    if (ranges.some(({ from, to }) => from <= moment && moment <= to)) return;
    if (Date.now() > deadline)
      throw new Error(`the recovery window does not reach ${moment}: ${JSON.stringify(ranges)}`);
    await sleep(POLL_MS);
  }
}

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return client;
}
