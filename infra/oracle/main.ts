/**
 * `npm run test:oracle -- --points N --seed S [--restores N] [--physical N] [--no-schema-changes] [--no-ddl-trigger]`: writers change a database in every way there is while its capture
 * is killed and started again. At random moments PostgreSQL itself says what every tenant owns; Rowback then brings each moment back, and the
 * rows are compared byte for byte. The last line is one JSON object; the exit code is 1 if anything differed.
 */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type ControlDatabase, openControlDatabase } from "@rowback/db";
import { RecoveryError } from "@rowback/recovery/errors";
import type { Reach } from "@rowback/recovery/plans";
import { openStore } from "@rowback/storage";
import { randomOf } from "../chaos/random.ts";
import { say, untilStopped } from "../chaos/until-stopped.ts";
import { untilCaptured } from "./captured.ts";
import { compareMoment, compareReferences, type Mismatch } from "./compare.ts";
import { isPromised, limitOf, readReaches } from "./declared.ts";
import { archiveAll, recoverAt, takePhysicalBase } from "./physical-pitr.ts";
import { type History, liveThrough, type Point } from "./points.ts";
import { restoreIntoScratch } from "./scratch.ts";
import { type Cleanup, type OracleSystem, type OracleTenant, startSystem } from "./system.ts";
import { ACCOUNTS } from "./writers.ts";

const MOST_HELD_BYTES = 64 * 1_048_576;
/** Of all tenants at all moments; without event triggers, how many lie in gaps is a matter of chance. */
const LEAST_COMPARED = 0.75;
const LEAST_BY_EVIDENCE = 0.01;

interface Options {
  readonly points: number;
  readonly seed: number;
  /** Moments that are also restored into another database through the API. */
  readonly restores: number;
  /** Moments that PostgreSQL's own point-in-time recovery is asked about, too. */
  readonly physical: number;
  readonly schemaChanges: boolean;
  /** Event triggers in the source tell of changed columns; else they are found by evidence alone. */
  readonly ddlTrigger: boolean;
}

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      points: { type: "string", default: "20" },
      seed: { type: "string", default: "1" },
      restores: { type: "string", default: "2" },
      physical: { type: "string", default: "2" },
      "no-schema-changes": { type: "boolean", default: false },
      "no-ddl-trigger": { type: "boolean", default: false },
    },
  });
  const counts = {
    points: Number(values.points),
    seed: Number(values.seed),
    restores: Number(values.restores),
    physical: Number(values.physical),
  };
  if (!Object.values(counts).every((value) => Number.isInteger(value) && value >= 0))
    throw new Error(
      "npm run test:oracle -- [--points 20] [--seed 1] [--restores 2] [--physical 2] [--no-schema-changes] [--no-ddl-trigger]",
    );
  return { ...counts, schemaChanges: !values["no-schema-changes"], ddlTrigger: !values["no-ddl-trigger"] };
}

async function main(cleanups: Cleanup[], signal: AbortSignal): Promise<void> {
  const options = readOptions();
  const system = await startSystem(cleanups, options, signal);
  const base = await takePhysicalBase(system.source.url, system.dataDir, join(system.folder, "base"), system.archive);
  say("the world begins to live");
  const history = await liveThrough(system, {
    ...options,
    count: options.points,
    signal,
    say,
  });
  say(`${history.transactions} transactions, ${history.kills} kills, ${history.backups} backups; comparing`);
  const db = openControlDatabase({ url: system.controlUrl, maxConnections: 4, applicationName: "oracle" });
  cleanups.push(() => db.close());
  await untilCaptured(db, system, signal);

  const judged = await compareAll(db, system, history, options.seed, signal);
  const chosen = evenly(judged.whole, options.restores);
  const restored = await restoreIntoScratch(system, chosen, signal);
  const physical = await comparePhysical(system, base, evenly(history.points.filter(isExact), options.physical));
  const mismatches = [...judged.mismatches, ...restored, ...physical];
  for (const mismatch of mismatches) say(`MISMATCH ${mismatch}`);
  console.log(
    JSON.stringify({
      oracle: "moments",
      seed: options.seed,
      points: history.points.length,
      tenants: system.tenants.length,
      compared: judged.compared,
      inDeclaredGap: judged.inDeclaredGap,
      besideSchemaChange: judged.besideSchemaChange,
      unexpectedRefusals: judged.unexpectedRefusals,
      restored: chosen.length * system.tenants.length,
      physical: Math.min(options.physical, history.points.filter(isExact).length),
      transactions: history.transactions,
      schemaChanges: history.schemaChanges,
      ddlTrigger: options.ddlTrigger,
      captureKills: history.kills,
      backups: history.backups,
      mismatches: mismatches.length,
    }),
  );
  if (mismatches.length > 0 || !isBelievable(judged, history.points.length * system.tenants.length, options))
    process.exitCode = 1;
}

/** How every tenant at every moment came out: each is in one of the four. */
interface Judgement {
  /** Brought back, and compared. */
  compared: number;
  /** No base reaches it, and the recovery window says so. */
  inDeclaredGap: number;
  /** Refused, because a table's columns changed about then. */
  besideSchemaChange: number;
  /** Promised by the window, and refused: as bad as other rows. */
  unexpectedRefusals: number;
  readonly mismatches: Mismatch[];
  /** Moments at which every tenant was brought back. */
  readonly whole: Point[];
}

/** Who is refused most moments proves nothing. */
function isBelievable(judged: Judgement, wanted: number, { ddlTrigger }: Options): boolean {
  const { compared, inDeclaredGap, besideSchemaChange, unexpectedRefusals } = judged;
  const all = compared + inDeclaredGap + besideSchemaChange + unexpectedRefusals;
  return (
    all === wanted && unexpectedRefusals === 0 && compared >= wanted * (ddlTrigger ? LEAST_COMPARED : LEAST_BY_EVIDENCE)
  );
}

/** Every tenant at every moment, each from a base chosen by chance among the last that reach it. */
async function compareAll(
  db: ControlDatabase,
  system: OracleSystem,
  { points }: History,
  seed: number,
  signal: AbortSignal,
): Promise<Judgement> {
  const store = openStore({ driver: "filesystem", root: system.store });
  const random = randomOf(seed);
  const mismatches: Mismatch[] = [];
  const judged: Judgement = {
    compared: 0,
    inDeclaredGap: 0,
    besideSchemaChange: 0,
    unexpectedRefusals: 0,
    mismatches,
    whole: [],
  };
  const reaches = new Map<OracleTenant, ReadonlyMap<string, Reach>>();
  for (const tenant of system.tenants) reaches.set(tenant, await readReaches(db, system, tenant));
  try {
    for (const [number, point] of points.entries()) {
      const reference = await point.reference();
      const limit = limitOf(point);
      const { compared } = judged;
      for (const tenant of system.tenants) {
        signal.throwIfAborted();
        const promised = (point.bases.get(tenant.id) ?? []).filter((id) => {
          const reach = reaches.get(tenant)?.get(id);
          return reach !== undefined && isPromised(reach, limit);
        });
        if (promised.length === 0) {
          judged.inDeclaredGap += 1;
          continue;
        }
        const base = random.pick(promised.slice(-3));
        // Sometimes little at once, so that tables are folded in several passes.
        const mostHeldBytes = random.pick([1_048_576, MOST_HELD_BYTES]);
        const wish = { backupId: base, reference, mostHeldBytes };
        const where = `moment ${number} (${JSON.stringify(limit)}), account ${tenant.account}, base ${base}`;
        try {
          const found = await compareMoment({ db, store, system }, tenant, point, wish);
          mismatches.push(...found.map((one) => `${where}: ${one}`));
          judged.compared += 1;
        } catch (error) {
          if (error instanceof RecoveryError && error.code === "moment_unreachable") judged.besideSchemaChange += 1;
          else {
            judged.unexpectedRefusals += 1;
            mismatches.push(`${where}: ${String(error)}`);
          }
        }
      }
      if (judged.compared === compared + system.tenants.length) judged.whole.push(point);
      if ((number + 1) % 50 === 0) say(`${number + 1} moments compared, ${mismatches.length} mismatches`);
    }
  } finally {
    await store.close();
  }
  return judged;
}

type ExactPoint = Point & { readonly target: { readonly lsn: string } };

function isExact(point: Point): point is ExactPoint {
  return "lsn" in point.target;
}

async function comparePhysical(
  system: OracleSystem,
  base: Awaited<ReturnType<typeof takePhysicalBase>>,
  points: readonly ExactPoint[],
): Promise<Mismatch[]> {
  if (points.length === 0) return [];
  await archiveAll(system.source.url, system.archive);
  const mismatches: Mismatch[] = [];
  for (const { target, reference } of points) {
    const recovered = await recoverAt(base, target.lsn, "postgres", ACCOUNTS);
    mismatches.push(
      ...compareReferences(await reference(), recovered).map((one) => `recovery to ${target.lsn}: ${one}`),
    );
  }
  return mismatches;
}

function evenly<T>(of: readonly T[], count: number): T[] {
  const step = Math.max(1, of.length / Math.max(1, count));
  return Array.from({ length: Math.min(count, of.length) }, (_, n) => of.slice(Math.floor(n * step))[0]).filter(
    (one) => one !== undefined,
  );
}

await untilStopped(main);
