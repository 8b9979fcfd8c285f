import {
  BackupResult,
  BackupVerifyResult,
  CaptureSetupResult,
  CaptureTeardownResult,
  DiscoveryResult,
  HistoryResult,
  type JobName,
  RestorePointResult,
  RestoreResult,
  TenantEraseResult,
} from "@rowback/jobs";
import { RestorePlan } from "@rowback/recovery/plans";
import { z } from "zod";

/**
 * What a succeeded run of each kind answers, in the words of the formal description. The worker's outcomes are of these
 * types; here they are described and not checked again, so that a result of an older version can still be read.
 */
const RESULTS: Readonly<Record<JobName, readonly [string, z.ZodType]>> = {
  discovery: ["DiscoveryResult", DiscoveryResult],
  backup: ["BackupResult", BackupResult],
  backup_verify: ["BackupVerifyResult", BackupVerifyResult],
  restore_preview: ["RestorePlan", RestorePlan],
  restore: ["RestoreResult", RestoreResult],
  tenant_erase: ["TenantEraseResult", TenantEraseResult],
  capture_setup: ["CaptureSetupResult", CaptureSetupResult],
  capture_teardown: ["CaptureTeardownResult", CaptureTeardownResult],
  restore_point: ["RestorePointResult", RestorePointResult],
  history: ["HistoryResult", HistoryResult],
};

for (const [id, schema] of Object.values(RESULTS)) schema.register(z.globalRegistry, { id });

/** The description of a `result` that is one of these kinds', or null. For `z.unknown().meta(…)`. */
export function resultOf(...kinds: readonly JobName[]): { description: string; anyOf: object[] } {
  const refs = kinds.map((kind) => ({ $ref: `#/components/schemas/${RESULTS[kind][0]}` }));
  const byKind = kinds.map((kind) => `${kind}: ${RESULTS[kind][0]}`).join(", ");
  return {
    description: `Once it succeeded: what came of it, by kind (${byKind}).`,
    anyOf: [...refs, { type: "null" }],
  };
}
