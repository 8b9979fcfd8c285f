import xxhash from "xxhash-wasm";

const { h64Raw } = await xxhash();

const TAB = 0x09;

/** The hash of the format's fingerprint (docs/FORMAT.md): XXH64 of a row's COPY text without its newline. */
export function hashRow(row: Uint8Array): bigint {
  return h64Raw(row);
}

/**
 * FNV-1a over the key's fields, a tab after each (http://www.isthe.com/chongo/tech/comp/fnv/), then murmur3's last steps, so that
 * the low bits are good too. As row-sieve.wat does it.
 */
export function hashKey(row: Uint8Array, key: readonly number[]): number {
  let hash = 0x811c9dc5;
  for (const position of key) {
    let at = 0;
    for (let skip = position; skip > 0; skip -= 1) at = row.indexOf(TAB, at) + 1;
    for (let byte = row[at]; byte !== undefined && byte !== TAB; byte = row[at]) {
      hash = Math.imul(hash ^ byte, 0x01000193);
      at += 1;
    }
    hash = Math.imul(hash ^ TAB, 0x01000193);
  }
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/** The texts of the key's fields with tabs between them. */
export function keyText(row: Uint8Array, key: readonly number[]): string {
  const fields = Buffer.from(row.buffer, row.byteOffset, row.byteLength).toString("utf8").split("\t");
  return key.map((position) => fields[position] ?? "").join("\t");
}
