import { createReadStream, createWriteStream } from "node:fs";
import { rename, rm } from "node:fs/promises";
import { createInterface } from "node:readline";
import { finished } from "node:stream/promises";
import { parseArgs } from "node:util";
import { ChainHead, NO_TENANT_CHAIN, verifyAuditLog } from "./audit-verification.ts";
import { readControlDatabaseConfig } from "./config.ts";
import { openControlDatabase } from "./control-database.ts";

// A chain shows what was changed inside it. That somebody with all rights on the database rewrote all of it, hashes and
// heads included, or emptied it, only shows against an anchor that was kept where they could not reach it.
const USAGE = `usage: npm run audit:verify -- [--anchor <file>] [--write-anchor <file>]
  --anchor <file>        also compare with the heads kept in this file by an earlier --write-anchor
  --write-anchor <file>  keep every chain's head in this file when all is well; store it outside the database`;

async function readAnchors(file: string): Promise<ChainHead[]> {
  const anchors: ChainHead[] = [];
  for await (const line of createInterface({ input: createReadStream(file) })) {
    if (line !== "") anchors.push(ChainHead.parse(JSON.parse(line)));
  }
  return anchors;
}

function options(): { anchor: string | undefined; writeAnchor: string | undefined } {
  try {
    const { values } = parseArgs({ options: { anchor: { type: "string" }, "write-anchor": { type: "string" } } });
    return { anchor: values.anchor, writeAnchor: values["write-anchor"] };
  } catch {
    process.stderr.write(`${USAGE}\n`);
    process.exit(2);
  }
}

const { anchor, writeAnchor } = options();
const control = openControlDatabase({
  url: readControlDatabaseConfig().databaseUrl,
  maxConnections: 1,
  applicationName: "rowback-audit-verify",
});
try {
  const anchors = anchor === undefined ? [] : await readAnchors(anchor);
  const temporary = writeAnchor === undefined ? null : `${writeAnchor}.${process.pid}`;
  const written = temporary === null ? null : createWriteStream(temporary, { mode: 0o600 });
  const { chains, entries, broken } = await verifyAuditLog(control, {
    anchors,
    onHead: (head) => written?.write(`${JSON.stringify(head)}\n`),
  });
  for (const { chain, seq, problem } of broken) {
    const whose = chain === NO_TENANT_CHAIN ? "entries of no tenant" : `tenant ${chain}`;
    process.stdout.write(`BROKEN: ${whose}: first at entry ${seq}: ${problem}\n`);
  }
  if (written !== null) await finished(written.end());
  if (broken.length > 0) {
    if (temporary !== null) await rm(temporary);
    process.stdout.write(`${broken.length} of ${chains} chains are broken (${entries} entries read)\n`);
    process.exitCode = 1;
  } else {
    if (temporary !== null && writeAnchor !== undefined) await rename(temporary, writeAnchor);
    process.stdout.write(`${chains} chains with ${entries} entries are whole\n`);
  }
} finally {
  await control.close();
}
