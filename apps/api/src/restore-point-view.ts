import { type RestorePoint, RUN_STATES } from "@rowback/db";
import { isoOfMicros } from "@rowback/recovery/plans";
import { z } from "zod";

/** A restore point as clients see it; its id is its run's. */
export const RestorePointView = z
  .object({
    id: z.uuid(),
    name: z.string(),
    status: z.enum(RUN_STATES),
    at: z
      .string()
      .nullable()
      .meta({ description: "By the source's clock, with microseconds; null until it is written." }),
    lsn: z.string().nullable().meta({ description: "Its place in the WAL, 16 hexadecimal digits." }),
    requestedBy: z.string(),
    createdAt: z.iso.datetime(),
  })
  .meta({ id: "RestorePoint" });
export type RestorePointView = z.infer<typeof RestorePointView>;

export function toRestorePointView({
  id,
  name,
  status,
  at,
  lsn,
  requestedBy,
  createdAt,
}: RestorePoint): RestorePointView {
  const time = at === null ? null : isoOfMicros(at);
  return { id, name, status, at: time, lsn, requestedBy, createdAt: createdAt.toISOString() };
}
