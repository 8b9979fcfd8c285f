import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";

/** Every file below the folder as it is, and unpacked where it is gzip. */
export async function everyObject(root: string): Promise<string> {
  const texts: string[] = [];
  for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = await readFile(join(entry.parentPath, entry.name));
    texts.push(entry.name, bytes.toString("latin1"));
    try {
      texts.push(gunzipSync(bytes).toString("latin1"));
    } catch {
      // Not gzip: sealed, or JSON.
    }
  }
  return texts.join("\n");
}
