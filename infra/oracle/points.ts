import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import { type Random, randomOf } from "../chaos/random.ts";
import { KeptReferences } from "./kept-references.ts";
import { type Reference, readReference, takeExactMoment } from "./reference.ts";
import { type OracleSystem, type OracleTenant, succeed } from "./system.ts";
import { ACCOUNTS, type Written, write, writeSlowly } from "./writers.ts";

/** A moment, and what everybody owned at it, as PostgreSQL itself says. */
export interface Point {
  readonly target: { readonly lsn: string } | { readonly time: string };
  readonly reference: () => Promise<Reference>;
  /** By tenant id: the backups that had ended before the moment. */
  readonly bases: ReadonlyMap<string, readonly string[]>;
}

export interface History {
  readonly points: readonly Point[];
  readonly transactions: number;
  readonly schemaChanges: number;
  readonly kills: number;
  readonly backups: number;
}

const WRITERS = 3;
/** Moments. Another worker takes over after some seconds, and shall have time to capture what happens as it happens, too. */
const KILL_ONE_IN = 12;

/** Writers hold their next transaction back while somebody needs silence. */
class Gate {
  #open: Promise<void> = Promise.resolve();

  readonly turn = (): Promise<void> => this.#open;

  async whileSilent<T>(url: string, fn: () => Promise<T>): Promise<T> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#open = promise;
    try {
      await untilNobodyWrites(url);
      return await fn();
    } finally {
      resolve();
    }
  }
}

/** Lets the world live while the capture is killed and started again, and takes `count` moments of it. */
export async function liveThrough(
  system: OracleSystem,
  options: {
    readonly count: number;
    readonly seed: number;
    readonly schemaChanges: boolean;
    readonly signal: AbortSignal;
    readonly say: (line: string) => void;
  },
): Promise<History> {
  const { count, seed, schemaChanges, signal, say } = options;
  const random = randomOf(seed);
  const url = system.source.url;
  const bases = new Map<string, string[]>();
  let kills = 0;
  let backups = 0;
  const backUp = async (tenant: OracleTenant): Promise<void> => {
    const id = await succeed(tenant.client, "/v1/backups", {});
    bases.set(tenant.id, [...(bases.get(tenant.id) ?? []), id]);
    backups += 1;
  };
  for (const tenant of system.tenants) await backUp(tenant);

  const gate = new Gate();
  const enough = new AbortController();
  const stop = AbortSignal.any([signal, enough.signal]);
  const writing = Promise.all(
    Array.from({ length: WRITERS }, (_, n) =>
      write({
        url,
        turn: gate.turn,
        seed: seed * 1_000 + n,
        rarities: n === 0,
        schemaChanges: schemaChanges && n === 1,
        signal: stop,
      }),
    ).concat(writeSlowly({ url, turn: gate.turn, seed: seed * 1_000 + WRITERS, signal: stop })),
  );
  writing.catch(() => {});
  const kept = new KeptReferences(system.folder);
  const points: Point[] = [];
  let backingUp: Promise<void> = Promise.resolve();
  try {
    while (points.length < count) {
      await delay(random.whole(50, 900), undefined, { signal });
      // Half way at the latest, both: one of them captures.
      const late = kills === 0 && points.length >= count / 2;
      for (const worker of late ? system.workers : random.oneIn(KILL_ONE_IN) ? [random.pick(system.workers)] : []) {
        worker.signal("SIGKILL");
        kills += 1;
      }
      if (random.oneIn(4)) backingUp = backingUp.then(() => backUp(random.pick(system.tenants)));
      const known = new Map([...bases].map(([tenant, ids]) => [tenant, [...ids]]));
      const { target, reference } = await takePoint(url, gate, random);
      points.push({ target, reference: await kept.keep(reference), bases: known });
      if (points.length % 50 === 0) say(`${points.length} moments, ${kills} kills, ${backups} backups`);
    }
    await backingUp;
  } finally {
    enough.abort();
  }
  const written = await writing;
  const sumOf = (what: keyof Written): number => written.reduce((sum, one) => sum + one[what], 0);
  return { points, kills, backups, transactions: sumOf("transactions"), schemaChanges: sumOf("schemaChanges") };
}

/** Mostly in the midst of everything, by WAL position; sometimes in a moment of silence, by time. */
async function takePoint(
  url: string,
  gate: Gate,
  random: Random,
): Promise<Pick<Point, "target"> & { readonly reference: Reference }> {
  if (!random.oneIn(4)) {
    const { lsn, reference } = await takeExactMoment(url, ACCOUNTS);
    return { target: { lsn }, reference };
  }
  return gate.whileSilent(url, async () => {
    const client = new pg.Client({ connectionString: url, application_name: "oracle reference" });
    await client.connect();
    try {
      await client.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
      const { rows } = await client.query<{ time: string }>(
        `SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS time`,
      );
      return { target: { time: rows[0]?.time ?? "" }, reference: await readReference(client, ACCOUNTS) };
    } finally {
      await client.end();
    }
  });
}

async function untilNobodyWrites(url: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, application_name: "oracle gate" });
  await client.connect();
  try {
    for (;;) {
      const { rowCount } = await client.query(
        "SELECT FROM pg_stat_activity WHERE application_name = 'oracle writer' AND state <> 'idle'",
      );
      if (rowCount === 0) return;
      await delay(5);
    }
  } finally {
    await client.end();
  }
}
