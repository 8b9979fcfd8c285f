import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore } from "@rowback/storage";
import { z } from "zod";
import { writeChain } from "./chain-data.ts";
import { startChild } from "./child-process.ts";
import { ratio, report } from "./measure.ts";

/**
 * The memory of a long chain: a full backup with 10, 30 and 100 incremental ones on it is opened as a restore opens it (every byte checked,
 * folded, compared with the last manifest), then its rows are written as a synthetic full backup, each in a process of its own. Each link changes
 * 5,000 of 200,000 rows of one table, and adds a row to each of 300 tables of 30 columns. In an `overlapping` chain each link has a transaction
 * that stands in the WAL before the end of the link below.
 *
 * `npm run bench -- chain`
 */
const LENGTHS = [10, 30, 100] as const;
const LONGEST = 100;

const Figures = z.object({ seconds: z.number(), peakRssMib: z.number() });

const folder = await mkdtemp(join(tmpdir(), "rowback-chain-"));
const figures: Record<string, number | string> = { bench: "chain" };
const peaks = new Map<string, number>();
try {
  for (const kind of ["apart", "overlapping"] as const) {
    const root = join(folder, kind);
    const store = openStore({ driver: "filesystem", root });
    const links = await writeChain(store, { length: LONGEST, overlapping: kind === "overlapping" });
    await store.close();
    for (const length of LENGTHS) {
      const child = startChild("chain");
      try {
        const { seconds, peakRssMib } = await child.ask({ root, links: links.slice(0, length + 1) }, Figures);
        console.log(`${kind}, ${length} links: ${seconds.toFixed(1)} s, ${Math.round(peakRssMib)} MiB`);
        figures[`seconds_${kind}_${length}`] = Number(seconds.toFixed(2));
        figures[`peak_rss_mib_${kind}_${length}`] = Math.round(peakRssMib);
        peaks.set(`${kind} ${length}`, peakRssMib);
      } finally {
        await child.stop();
      }
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
const growth = (kind: string): number => ratio(peaks.get(`${kind} ${LONGEST}`) ?? 0, peaks.get(`${kind} 10`) ?? 1);
report({ ...figures, growth_apart: growth("apart"), growth_overlapping: growth("overlapping") });
