import { execFile } from "node:child_process";
import { open } from "node:fs/promises";
import { promisify } from "node:util";
import { type MasterKeys, parseMasterKeys } from "@rowback/recovery";

const run = promisify(execFile);

/** Where the master keys come from. Their text: each the base64 of 32 bytes, parted by white space or commas, the current one first. */
export type MasterKeySource =
  | { readonly kind: "value"; readonly text: string }
  | { readonly kind: "file"; readonly path: string }
  /** A program and its arguments, without a shell; it prints the keys. */
  | { readonly kind: "command"; readonly argv: readonly string[]; readonly timeoutMs: number };

/** Some 1,400 keys; more is no key file, and must not fill the memory. */
const MOST_BYTES = 65_536;

/**
 * Reads the master keys, once, at the start: a worker without the keys it was promised must not take runs.
 * Throws an error that names the setting, and shows nothing of what was read.
 */
export async function readMasterKeys(source: MasterKeySource | null): Promise<MasterKeys | undefined> {
  if (source === null) return undefined;
  const text = await textOf(source);
  try {
    return parseMasterKeys(text);
  } catch (error) {
    throw new Error(`${SETTINGS[source.kind]}: ${error instanceof Error ? error.message : "no master key"}`);
  }
}

const SETTINGS = {
  value: "ROWBACK_MASTER_KEY",
  file: "ROWBACK_MASTER_KEY_FILE",
  command: "ROWBACK_MASTER_KEY_COMMAND",
} as const satisfies Record<MasterKeySource["kind"], string>;

async function textOf(source: MasterKeySource): Promise<string> {
  switch (source.kind) {
    case "value":
      return source.text;
    case "file":
      return await fileText(source.path);
    case "command":
      return await commandText(source.argv, source.timeoutMs);
  }
}

async function fileText(path: string): Promise<string> {
  const file = await open(path).catch((error: unknown) => {
    throw new Error(`${SETTINGS.file}: ${path} can't be opened (${codeOf(error)})`);
  });
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(MOST_BYTES + 1), 0, MOST_BYTES + 1, 0);
    if (bytesRead > MOST_BYTES) throw new Error(`${SETTINGS.file}: ${path} is longer than ${MOST_BYTES} bytes`);
    return buffer.toString("utf8", 0, bytesRead);
  } finally {
    await file.close();
  }
}

/** What the program prints is in none of the errors: it may be half a key. */
async function commandText([file, ...args]: readonly string[], timeoutMs: number): Promise<string> {
  if (file === undefined) throw new Error(`${SETTINGS.command} names no program`);
  try {
    const { stdout } = await run(file, args, {
      shell: false,
      timeout: timeoutMs,
      killSignal: "SIGKILL",
      maxBuffer: MOST_BYTES,
      encoding: "utf8",
    });
    return stdout;
  } catch (error) {
    throw new Error(`${SETTINGS.command}: ${file} failed (${codeOf(error)}) or took longer than ${timeoutMs} ms`);
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error) || !("code" in error)) return "killed";
  const { code } = error;
  return typeof code === "number" ? `exit code ${code}` : typeof code === "string" ? code : "killed";
}
