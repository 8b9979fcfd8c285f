import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";

const newKey = (): string => randomBytes(32).toString("base64");

const Secrets = z.object({
  jwtSecret: z.string(),
  secretKey: z.string(),
  // A folder from before there was encryption has none, and nothing that is encrypted.
  masterKey: z.string().default(newKey),
});

/** Kept between runs: with new keys, the kept database's connection strings and the kept backups could not be opened. */
export async function developmentSecrets(folder: string): Promise<z.infer<typeof Secrets>> {
  const file = join(folder, "secrets.json");
  const kept: unknown = existsSync(file) ? JSON.parse(await readFile(file, "utf8")) : {};
  const secrets = Secrets.parse({ jwtSecret: randomBytes(32).toString("hex"), secretKey: newKey(), ...Object(kept) });
  await writeFile(file, JSON.stringify(secrets), { mode: 0o600 });
  return secrets;
}
