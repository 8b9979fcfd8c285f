import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** The full path of a program in `folders`, or on PATH; null when it is in none. */
export function findProgram(
  name: string,
  folders: readonly string[] = (process.env["PATH"] ?? "").split(delimiter),
): string | null {
  for (const folder of folders) {
    const file = join(folder, name);
    try {
      accessSync(file, constants.X_OK);
      return file;
    } catch {
      // Not in this folder.
    }
  }
  return null;
}
