import type { CaptureEpoch, CaptureState } from "@rowback/db";
import { Finding } from "@rowback/recovery/plans";
import { z } from "zod";

/** How a source's changes are captured. */
export const CaptureView = z
  .object({
    status: z.enum(["on", "off"]),
    slotName: z.string(),
    publicationName: z.string(),
    epoch: z.int().nullable().meta({ description: "Counts the slots of the source; a new one begins with a gap." }),
    capturing: z.boolean().meta({ description: "A worker reads the slot at this moment." }),
    coveredLsn: z.string().nullable().meta({ description: "Every commit below it is in the change log, durable." }),
    coveredAt: z.iso.datetime().nullable(),
    lagSeconds: z.number().nullable().meta({
      description: "How far the durable log is behind now: what a loss of the source at this second would cost.",
    }),
    lagBytes: z.int().nullable().meta({ description: "WAL that the source keeps for the slot, when last looked." }),
    observedAt: z.iso.datetime().nullable(),
    problem: z
      .object({ code: z.string(), message: z.string(), hint: z.string().optional() })
      .nullable()
      .meta({ description: "Why the capture does not go on; it is tried again all the while." }),
    findings: z.array(Finding),
  })
  .meta({ id: "Capture" });
export type CaptureView = z.infer<typeof CaptureView>;

/** @param epoch the last one; null: there was none */
export function toCaptureView(state: CaptureState, epoch: CaptureEpoch | null, now: Date): CaptureView {
  const coveredAt = epoch === null ? null : new Date(Number(epoch.coveredAt / 1_000n));
  return {
    status: state.status,
    slotName: state.slotName,
    publicationName: state.publicationName,
    epoch: epoch?.epoch ?? null,
    capturing: state.leaseUntil !== null && state.leaseUntil > now,
    coveredLsn: epoch?.coveredLsn ?? null,
    coveredAt: coveredAt?.toISOString() ?? null,
    lagSeconds: coveredAt === null ? null : Math.max(0, now.getTime() - coveredAt.getTime()) / 1_000,
    lagBytes: state.slotLagBytes,
    observedAt: state.observedAt?.toISOString() ?? null,
    problem: state.problem,
    findings: z.array(Finding).parse(state.findings),
  };
}
