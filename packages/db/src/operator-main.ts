import { parseArgs } from "node:util";
import { readControlDatabaseConfig } from "./config.ts";
import { openControlDatabase } from "./control-database.ts";
import { addOperator, removeOperator } from "./tables/operators.ts";

// Who may register sources and tenants is decided here, next to the database, not by the API: the first operator has nobody to ask.
const USAGE = "usage: npm run operator -- <user id> [--remove]      the user id is the `sub` of the user's tokens";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { remove: { type: "boolean" } } });
const [userId] = positionals;
if (userId === undefined || positionals.length > 1) {
  process.stderr.write(`${USAGE}\n`);
  process.exit(2);
}

const control = openControlDatabase({
  url: readControlDatabaseConfig().databaseUrl,
  maxConnections: 1,
  applicationName: "rowback-operator",
});
try {
  if (values.remove === true) {
    const was = await removeOperator(control.system, userId);
    process.stdout.write(`${userId} ${was ? "is no operator any more" : "was no operator"}\n`);
  } else {
    await addOperator(control.system, userId);
    process.stdout.write(`${userId} is an operator\n`);
  }
} finally {
  await control.close();
}
