import { parseArgs } from "node:util";
import { commandLineAuthor } from "./command-line.ts";
import { readControlDatabaseConfig } from "./config.ts";
import { openControlDatabase } from "./control-database.ts";
import { appointOperator, dismissOperator } from "./tables/operators.ts";

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
    const was = await dismissOperator(control.system, userId, commandLineAuthor());
    process.stdout.write(`${userId} ${was ? "is no operator any more" : "was no operator"}\n`);
  } else {
    const isNew = await appointOperator(control.system, userId, commandLineAuthor());
    process.stdout.write(`${userId} ${isNew ? "is an operator" : "was an operator already"}\n`);
  }
} finally {
  await control.close();
}
