import { readMigrateConfig } from "./config.ts";
import { migrate } from "./migrate.ts";

await migrate(readMigrateConfig().databaseUrl, { onLine: (line) => process.stdout.write(`${line}\n`) });
