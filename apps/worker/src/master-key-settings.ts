import { z } from "zod";
import type { MasterKeySource } from "./read-master-keys.ts";

const NO_COMMAND = 'must be a JSON array of a program and its arguments: ["/usr/local/bin/master-key"]';

/** docker-compose passes on what nobody has set as empty text. */
function unlessEmpty(text: string): string | undefined {
  return text === "" ? undefined : text;
}

/** The environment's variables about master keys, at most one of them (docs/OPERATIONS.md, "Encryption"). */
export const MasterKeySettings = z.object({
  ROWBACK_MASTER_KEY: z.string().transform(unlessEmpty).optional(),
  ROWBACK_MASTER_KEY_FILE: z.string().transform(unlessEmpty).optional(),
  ROWBACK_MASTER_KEY_COMMAND: z
    .string()
    .transform((text, context): unknown => {
      try {
        return JSON.parse(text);
      } catch {
        context.addIssue({ code: "custom", message: NO_COMMAND });
        return z.NEVER;
      }
    })
    .pipe(z.array(z.string(NO_COMMAND), NO_COMMAND).min(1, NO_COMMAND))
    .optional(),
});

// A KMS answers within a second; one that hangs must not keep a worker from saying so.
const COMMAND_MS = 15_000;

/** Which of them is set; null for none. Throws when several are. */
export function masterKeySource(settings: z.infer<typeof MasterKeySettings>): MasterKeySource | null {
  const { ROWBACK_MASTER_KEY: text, ROWBACK_MASTER_KEY_FILE: path, ROWBACK_MASTER_KEY_COMMAND: argv } = settings;
  const sources: MasterKeySource[] = [];
  if (text !== undefined) sources.push({ kind: "value", text });
  if (path !== undefined) sources.push({ kind: "file", path });
  if (argv !== undefined) sources.push({ kind: "command", argv, timeoutMs: COMMAND_MS });
  if (sources.length > 1) {
    throw new Error(
      "Set one of ROWBACK_MASTER_KEY, ROWBACK_MASTER_KEY_FILE and ROWBACK_MASTER_KEY_COMMAND, not several",
    );
  }
  return sources[0] ?? null;
}
