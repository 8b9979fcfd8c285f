import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { startPostgres } from "@rowback/local-services";
import { type BackupFigures, backUpInProcess } from "./backup-process.ts";
import { inTurns, median, ratio, report, seconds } from "./measure.ts";
import { loadTenant } from "./saas-data.ts";

/**
 * What encryption costs: one large tenant backed up and verified, in clear and with every block sealed, turn by turn on the same data, each
 * in a process of its own. `ratio_backup` and `ratio_verify` are the clear one's time over the encrypted one's: 1 is free.
 *
 * `npm run bench -- encryption [--megabytes 500] [--rounds 5] [--connections 2]`
 */
const { values: options } = parseArgs({
  options: {
    megabytes: { type: "string", default: "500" },
    rounds: { type: "string", default: "5" },
    connections: { type: "string", default: "2" },
  },
});
const connections = Number(options.connections);

const SERVER_SETTINGS = { shared_buffers: "512MB", max_wal_size: "8GB", fsync: "off", autovacuum: "off" };

const folder = await mkdtemp(join(tmpdir(), "rowback-bench-"));
const server = await startPostgres({ distribution: "debian", settings: SERVER_SETTINGS });
try {
  console.log(`loading ${options.megabytes} MB …`);
  console.log(`loaded in ${Math.round(await seconds(() => loadTenant(server.url, Number(options.megabytes))))} s`);
  report({ bench: "encryption", ...(await compare(server.url)), load_average: ratio(loadavg()[0] ?? 0, 1) });
} finally {
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}

async function compare(url: string): Promise<Record<string, number>> {
  const runs: { clear: BackupFigures[]; encrypted: BackupFigures[] } = { clear: [], encrypted: [] };
  const backUp = async (kind: keyof typeof runs): Promise<number> => {
    const figures = await backUpInProcess(folder, { url, connections, verify: true, encrypt: kind === "encrypted" });
    runs[kind].push(figures);
    return figures.seconds;
  };
  const took = await inTurns(Number(options.rounds), {
    clear: () => backUp("clear"),
    encrypted: () => backUp("encrypted"),
  });
  const middle = (kind: keyof typeof runs, field: keyof BackupFigures): number =>
    median(runs[kind].slice(1).map((figures) => figures[field]));
  const megabytes = middle("clear", "rawBytes") / 1e6;
  return {
    megabytes: Math.round(megabytes),
    megabytes_per_second_clear: Math.round(megabytes / took("clear")),
    megabytes_per_second_encrypted: Math.round(megabytes / took("encrypted")),
    ratio_backup: ratio(took("clear"), took("encrypted")),
    ratio_verify: ratio(middle("clear", "verifySeconds"), middle("encrypted", "verifySeconds")),
    ratio_size: ratio(middle("encrypted", "storedBytes"), middle("clear", "storedBytes")),
    peak_rss_mib_clear: Math.round(middle("clear", "peakRssMib")),
    peak_rss_mib_encrypted: Math.round(middle("encrypted", "peakRssMib")),
    connections,
  };
}
