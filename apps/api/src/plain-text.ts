import { z } from "zod";

/**
 * Text that PostgreSQL can hold: no NUL (text refuses it) and no lone surrogate (jsonb refuses it). Either would
 * otherwise surface as a 500 from an INSERT.
 */
export function plainText(maxLength: number): z.ZodString {
  return z
    .string()
    .min(1)
    .max(maxLength)
    .refine(
      (text) => !text.includes("\0") && text.isWellFormed(),
      "must not contain NUL characters or broken surrogates",
    );
}
