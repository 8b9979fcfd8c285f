import { readFileSync, writeFileSync } from "node:fs";
import { compileRowEngine } from "../archive/compile-row-engine.ts";
import { assembleRowSieve } from "./assemble-row-sieve.ts";

/** `node build-row-sieve.ts` after a change of row-sieve.wat or of row-engine.wat's hash; the binary is committed. */
const text = (name: string): string => readFileSync(new URL(name, import.meta.url), "utf8");
const source = assembleRowSieve(text("./row-sieve.wat"), text("../archive/row-engine.wat"));
writeFileSync(new URL("./row-sieve.wasm", import.meta.url), await compileRowEngine(source));
