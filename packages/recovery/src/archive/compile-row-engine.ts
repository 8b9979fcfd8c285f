import loadWabt from "wabt";

/** WebAssembly text → binary, without names and custom sections. */
export async function compileRowEngine(source: string): Promise<Uint8Array> {
  const wabt = await loadWabt();
  const module = wabt.parseWat("row-engine.wat", source, { bulk_memory: true, mutable_globals: true });
  try {
    module.validate();
    return module.toBinary({ write_debug_names: false }).buffer;
  } finally {
    module.destroy();
  }
}
