import { readFileSync, writeFileSync } from "node:fs";
import { compileRowEngine } from "./compile-row-engine.ts";

/** `node build-row-engine.ts` after a change of row-engine.wat; the binary is committed, so nobody else needs the compiler. */
const source = readFileSync(new URL("./row-engine.wat", import.meta.url), "utf8");
writeFileSync(new URL("./row-engine.wasm", import.meta.url), await compileRowEngine(source));
