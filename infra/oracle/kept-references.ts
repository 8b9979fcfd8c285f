import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { z } from "zod";
import type { Reference } from "./reference.ts";

const Kept = z.array(
  z.tuple([
    z.number(),
    z.array(z.tuple([z.string(), z.object({ columns: z.array(z.string()), lines: z.array(z.string()) })])),
  ]),
);

/** References in files: a thousand moments of everybody's rows are more than memory should hold. */
export class KeptReferences {
  readonly #folder: string;
  #count = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Writes it down. @returns how to have it again */
  async keep(reference: Reference): Promise<() => Promise<Reference>> {
    const file = join(this.#folder, `reference-${this.#count}.json.gz`);
    this.#count += 1;
    const entries = [...reference].map(([account, tables]) => [account, [...tables]]);
    await writeFile(file, gzipSync(JSON.stringify(entries), { level: 1 }));
    return async () => {
      const kept = Kept.parse(JSON.parse(gunzipSync(await readFile(file)).toString("utf8")));
      return new Map(kept.map(([account, tables]) => [account, new Map(tables)]));
    };
  }
}
