/**
 * `npm run chaos -- --faults N --seed S`: the whole system as real processes, under load, while the seed's faults are thrown at it; then every
 * promise is checked. The last line is one JSON object; the exit code is 1 if anything was lost, doubled, false, orphaned or corrupt.
 */
import { parseArgs } from "node:util";
import { openStore } from "@rowback/storage";
import { z } from "zod";
import { checkRestores } from "./checks/restores.ts";
import { checkEffects, countRuns, endsNotOnce, failureCodes, missingRuns, untilAllEnded } from "./checks/runs.ts";
import { leftovers } from "./checks/source.ts";
import { checkStore } from "./checks/store.ts";
import { unfinishedUploads } from "./checks/unfinished.ts";
import { throwFaults } from "./faults.ts";
import { beginEffectsJournal, effectsByTenant } from "./journals.ts";
import { type LoadReport, runLoad } from "./load.ts";
import { introducePeople, type People } from "./people.ts";
import { FAULT_KINDS, planFaults } from "./plan.ts";
import { type Findings, isClean, reportOf } from "./report.ts";
import { settled } from "./settled.ts";
import { say, untilStopped } from "./until-stopped.ts";
import { type Cleanup, startWorld, type World } from "./world.ts";

const USAGE = `npm run chaos -- [--faults 30] [--seed 1] [--store s3|file] [--every 2000] [--scale 100] [--only freeze,kill] [--keep-logs folder]`;

/** Shorter than in production, longer than this machine stands still under load. */
const LEASE_MS = 5_000;
// The longest waits between five attempts add up to about two minutes.
const END_WITHIN_MS = 240_000;
const SWEPT_WITHIN_MS = 90_000;

interface Options {
  readonly faults: number;
  readonly seed: number;
  readonly store: "s3" | "file";
  readonly everyMs: number;
  /** Percent of the tenants' usual size. */
  readonly scale: number;
  readonly only: readonly (typeof FAULT_KINDS)[number][] | undefined;
  readonly keepLogs: string | undefined;
}

const Whole = z.coerce.number().pipe(z.int().min(0));
const Values = z.object({
  faults: Whole,
  seed: Whole,
  store: z.enum(["s3", "file"]),
  every: Whole,
  scale: Whole,
  only: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(z.enum(FAULT_KINDS)))
    .optional(),
  "keep-logs": z.string().optional(),
});

function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      faults: { type: "string", default: "30" },
      seed: { type: "string", default: "1" },
      store: { type: "string", default: "s3" },
      every: { type: "string", default: "2000" },
      scale: { type: "string", default: "100" },
      only: { type: "string" },
      "keep-logs": { type: "string" },
    },
  });
  const read = Values.safeParse(values);
  if (!read.success) throw new Error(`${z.prettifyError(read.error)}\n${USAGE}`);
  const { faults, seed, store, every: everyMs, scale, only } = read.data;
  return { faults, seed, store, everyMs, scale, only, keepLogs: read.data["keep-logs"] };
}

async function main(cleanups: Cleanup[], signal: AbortSignal): Promise<void> {
  const options = readOptions();
  const world = await startWorld({ ...options, leaseMs: LEASE_MS, apis: 2, workers: 3, say }, cleanups, signal);
  const people = await introducePeople(world, options.scale, signal);
  await beginEffectsJournal(world.urls.source);
  say(`${people.tenants.length} tenants; the load begins`);
  const seen = await underFire(world, people, options, signal);
  const findings = await check(world, people, seen, signal);
  for (const [what, found] of Object.entries(findings)) for (const one of found) say(`${what}: ${one}`);
  const report = reportOf(
    { seed: options.seed, faults: seen.faults, runs: await countRuns(world.urls.control) },
    findings,
  );
  console.log(JSON.stringify(report));
  if (!isClean(report)) process.exitCode = 1;
}

interface Seen {
  readonly load: LoadReport;
  readonly faults: number;
}

/** Load and faults together, then the load's last actions, with nothing broken any more. */
async function underFire(world: World, people: People, options: Options, signal: AbortSignal): Promise<Seen> {
  const plan = planFaults({ ...options, leaseMs: LEASE_MS });
  const enough = new AbortController();
  const patience = new AbortController();
  const loading = runLoad(
    { sourceUrl: world.urls.source, seed: options.seed, patience: patience.signal },
    people.tenants,
    AbortSignal.any([signal, enough.signal]),
  );
  loading.catch(() => {});
  try {
    const { done, failed } = await throwFaults(world, plan, signal, say);
    say(`${done} faults done, ${failed.length} could not be; the load ends`);
    enough.abort();
    const impatient = setTimeout(() => patience.abort(new Error("the run did not end")), END_WITHIN_MS);
    return { faults: done, load: await loading.finally(() => clearTimeout(impatient)) };
  } finally {
    enough.abort();
    patience.abort();
    await loading.catch(() => {});
  }
}

async function check(world: World, people: People, { load }: Seen, signal: AbortSignal): Promise<Findings> {
  const { urls } = world;
  const asked = people.tenants.flatMap(({ client }) => client.asked);
  say(`the load asked for ${asked.length} runs: ${summary(load.outcomes)}`);
  const open = await untilAllEnded(urls.control, END_WITHIN_MS, signal);
  say(`failed runs: ${summary(await failureCodes(urls.control))}`);
  const effects = await checkEffects(urls.control, await effectsByTenant(urls.source));
  const restores = await checkRestores(world, people, load.known);
  say(`${restores.checked} backups were restored or verified`);
  const stillOpen = await untilAllEnded(urls.control, END_WITHIN_MS, signal);

  const store = openStore(world.store);
  const swept = await settled(
    () => checkStore(store, urls.control),
    ({ falseManifests, orphans }) => falseManifests.length + orphans.length === 0,
    SWEPT_WITHIN_MS,
    signal,
  ).finally(() => store.close());
  const left = await settled(
    () => leftovers(urls.source),
    (found) => found.length === 0,
    SWEPT_WITHIN_MS,
    signal,
  );
  const unfinished = await settled(
    () => unfinishedUploads(world.store),
    (found) => found.length === 0,
    SWEPT_WITHIN_MS,
    signal,
  );
  const missing = await missingRuns(urls.control, asked);
  const ends = await endsNotOnce(urls.control);
  const doubles = people.tenants.flatMap(({ client }) => client.doubles);
  return {
    lost: [...open, ...stillOpen, ...missing, ...effects.missing],
    duplicated: [...ends, ...doubles, ...effects.tooMany, ...load.effects],
    falseManifests: swept.falseManifests,
    orphans: [...swept.orphans, ...unfinished, ...left],
    corrupt: [...load.corrupt, ...restores.corrupt],
  };
}

function summary(counts: ReadonlyMap<string, number>): string {
  return [...counts]
    .sort(([, a], [, b]) => b - a)
    .map(([what, count]) => `${what} ×${count}`)
    .join(", ");
}

await untilStopped(main);
// Everything is closed. Left to itself, node 24.21 was seen to spin for ever in the clean-up of its last handles.
process.exit();
