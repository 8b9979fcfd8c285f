import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const Secrets = z.object({ jwtSecret: z.string(), secretKey: z.string() });

/** Kept between runs: with a new key, the sealed connection strings of the kept database could not be opened. */
export async function developmentSecrets(folder: string): Promise<z.infer<typeof Secrets>> {
  const file = join(folder, "secrets.json");
  if (existsSync(file)) return Secrets.parse(JSON.parse(await readFile(file, "utf8")));
  const secrets = { jwtSecret: randomBytes(32).toString("hex"), secretKey: randomBytes(32).toString("base64") };
  await writeFile(file, JSON.stringify(secrets), { mode: 0o600 });
  return secrets;
}
