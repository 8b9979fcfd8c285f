export { RunStopped } from "./active-runs.ts";
export {
  type Breaker,
  type BreakerSettings,
  type BreakerState,
  type BreakerStatus,
  Breakers,
  type Dependency,
} from "./breakers.ts";
export { JOBS, JobName, jobsOf, QUEUES, type QueueName, RunPayload } from "./catalog.ts";
export { connectLimiter, type QueueLocation } from "./connection.ts";
export { type Consumer, createConsumer } from "./consumer.ts";
export {
  type Claim,
  type ClaimRequest,
  type Failure,
  type FairClaims,
  type HeldClaim,
  LEASE_MS,
  type PutBack,
  type RunLedger,
  type RunProgress,
} from "./ledger.ts";
export { describeError, type Log, throttledErrors, withoutCredentials } from "./log.ts";
export { createProducer, type EnqueueRequest, type Producer, QueueUnavailableError } from "./producer.ts";
export { type OpenQueues, openQueues, type QueueDepth } from "./queues.ts";
export type { ExecutionEvent, Handler, Handlers, Task } from "./run-executor.ts";
export {
  ApplyRestoreParams,
  BackupParams,
  BackupResult,
  BackupVerifyParams,
  BackupVerifyResult,
  CaptureSetupParams,
  CaptureSetupResult,
  CaptureTeardownParams,
  CaptureTeardownResult,
  DiscoveryParams,
  DiscoveryResult,
  HistoryParams,
  HistoryResult,
  RestoreParams,
  RestorePointParams,
  RestorePointResult,
  RestorePreviewParams,
  RestoreResult,
  RunMoment,
  TenantEraseParams,
  TenantEraseResult,
  UndoRestoreParams,
} from "./run-params.ts";
