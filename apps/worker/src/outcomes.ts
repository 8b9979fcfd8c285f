import type { BackupOutcomeRow, DiscoveredTableRow } from "@rowback/db";
import type {
  BackupResult,
  BackupVerifyResult,
  CaptureSetupResult,
  CaptureTeardownResult,
  DiscoveryResult,
  HistoryResult,
  JobName,
  RestorePointResult,
  RestoreResult,
  TenantEraseResult,
} from "@rowback/jobs";
import type { SetupOutcome } from "@rowback/recovery";
import type { RestorePlan } from "@rowback/recovery/plans";

/** What each kind of run comes to: what the ledger writes together with the run's success. */
export type RunOutcome =
  | { readonly kind: "discovery"; readonly result: DiscoveryResult; readonly tables: readonly DiscoveredTableRow[] }
  | { readonly kind: "backup"; readonly result: BackupResult; readonly outcome: BackupOutcomeRow }
  | { readonly kind: "backup_verify"; readonly result: BackupVerifyResult }
  | { readonly kind: "restore_preview"; readonly plan: RestorePlan }
  | { readonly kind: "restore"; readonly result: RestoreResult }
  | { readonly kind: "tenant_erase"; readonly result: TenantEraseResult }
  | {
      readonly kind: "capture_setup";
      readonly result: (epoch: number) => CaptureSetupResult;
      readonly capture: SetupOutcome;
    }
  | { readonly kind: "capture_teardown"; readonly result: CaptureTeardownResult }
  | {
      readonly kind: "restore_point";
      readonly result: RestorePointResult;
      readonly point: { readonly lsn: string; readonly at: bigint };
    }
  | { readonly kind: "history"; readonly result: HistoryResult };

export type Outcomes = { readonly [J in JobName]: Extract<RunOutcome, { kind: J }> };
