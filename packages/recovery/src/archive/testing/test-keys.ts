import { createSecretKey, randomBytes, randomUUID } from "node:crypto";
import type { SealKey } from "../sealed-block.ts";

export function testKey(): SealKey {
  return { id: randomUUID(), secret: createSecretKey(randomBytes(32)) };
}
