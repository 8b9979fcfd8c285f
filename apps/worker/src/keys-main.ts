import { commandLineAuthor, countKeysByMasterKey, openControlDatabase } from "@rowback/db";
import { readKeysConfig } from "./config.ts";
import { readMasterKeys } from "./read-master-keys.ts";
import { rotateKeys } from "./rotate-keys.ts";

// Next to the database and the master keys, not in the API, which has no master key.
const USAGE = `usage: npm run keys:list      which master keys are known here, and how many data keys each wraps
       npm run keys:rotate    wrap every data key with the current master key (the first one)
`;

const [command] = process.argv.slice(2);
if (command !== "list" && command !== "rotate") {
  process.stderr.write(USAGE);
  process.exit(2);
}

const config = readKeysConfig();
const masters = await readMasterKeys(config.masterKeys);
if (masters === undefined) {
  process.stderr.write(
    "No master key is set: ROWBACK_MASTER_KEY, ROWBACK_MASTER_KEY_FILE or ROWBACK_MASTER_KEY_COMMAND\n",
  );
  process.exit(2);
}
const control = openControlDatabase({ url: config.databaseUrl, maxConnections: 1, applicationName: "rowback-keys" });
try {
  if (command === "rotate") {
    const outcome = await rotateKeys(control.system, masters, commandLineAuthor());
    process.stdout.write(`${JSON.stringify(outcome)}\n`);
    if (outcome.failed.length > 0) process.exitCode = 1;
  } else {
    const known = [...masters.all.keys()].map((id) => ({ id, current: id === masters.current.id }));
    process.stdout.write(`${JSON.stringify({ known, dataKeys: await countKeysByMasterKey(control.system) })}\n`);
  }
} finally {
  await control.close();
}
