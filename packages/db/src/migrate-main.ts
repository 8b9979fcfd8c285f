import { readControlDatabaseConfig } from "./config.ts";
import { migrate } from "./migrate.ts";

await migrate(readControlDatabaseConfig().databaseUrl, { onLine: (line) => process.stdout.write(`${line}\n`) });
