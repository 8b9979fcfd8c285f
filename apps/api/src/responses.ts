import { z } from "zod";
import { PROBLEM_MEDIA_TYPE, Problem } from "./problem.ts";

const problemResponse = (description: string) =>
  ({ description, content: { [PROBLEM_MEDIA_TYPE]: { schema: Problem } } }) as const;

/** The documented answers of a route: its own, and the problems that every route may answer with. */
export const PROBLEMS = {
  "4xx": problemResponse("The request is wrong, or contradicts the present state: see `code` and `hint`."),
  "5xx": problemResponse("Rowback can't answer: see `code`, and quote `requestId`."),
} as const;

/** A documented answer with words of its own. */
export function jsonResponse<T extends z.ZodType>(description: string, schema: T) {
  return { description, content: { "application/json": { schema } } } as const;
}

/** A body that may be left out when all of its members may. */
export function optionalBody<T extends z.ZodType>(body: T) {
  return z.preprocess((given) => given ?? {}, body);
}

/** A path's `:id`. */
export const IdParams = z.object({ id: z.uuid() });

/** What every list takes. */
export const PageQuery = {
  limit: z.coerce.number().pipe(z.int().min(1).max(500)).default(100).meta({ description: "How many at most." }),
  cursor: z.string().min(1).max(500).optional().meta({ description: "`next` of the page before." }),
} as const;

/** A page of a list, newest first. */
export function pageSchema<T extends z.ZodType>(item: T) {
  return z.object({
    items: z.array(item),
    next: z.string().nullable().meta({ description: "The next page's `cursor`." }),
  });
}
