/** The part of the WebAssembly API that row-engine.ts uses; TypeScript has its types only together with a browser's. */
declare namespace WebAssembly {
  class Module {
    constructor(binary: Uint8Array);
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, Memory>>);
    readonly exports: object;
  }
  class Memory {
    constructor(size: { initial: number; maximum: number });
    readonly buffer: ArrayBuffer;
  }
  interface ValueTypes {
    i32: number;
    i64: bigint;
  }
  class Global<T extends keyof ValueTypes> {
    private constructor();
    value: ValueTypes[T];
  }
}
