/** row-sieve.wat with the functions it includes, taken from row-engine.wat: one hash, written once. */
export function assembleRowSieve(sieve: string, engine: string): string {
  return sieve.replace(/;; \(include ([^)]*)\)/, (_marker, names: string) =>
    names
      .split(" ")
      .map((name) => functionText(engine, name))
      .join("\n\n  "),
  );
}

/** The text of `(func $name …)`, to its closing parenthesis. */
function functionText(source: string, name: string): string {
  const start = source.indexOf(`(func ${name} `);
  if (start === -1) throw new Error(`row-engine.wat has no function ${name}`);
  let depth = 0;
  for (let at = start; at < source.length; at += 1) {
    if (source[at] === "(") depth += 1;
    if (source[at] === ")") depth -= 1;
    if (depth === 0) return source.slice(start, at + 1);
  }
  throw new Error(`${name} never ends`);
}
