/**
 * The life of a run, complete: what each event makes of each state; `null` = impossible there.
 * The trigger `runs_allow_only_known_transitions` says the same in SQL, and a test compares all pairs.
 */
export const RUN_STATES = ["awaiting_approval", "queued", "running", "succeeded", "failed", "cancelled"] as const;
export type RunState = (typeof RUN_STATES)[number];

/**
 * - `approve`: a second person agrees to a restore that waits for it.
 * - `claim`: a worker takes a queued run.
 * - `take_over`: a worker takes a run whose worker let its lease end.
 * - `renew`: the holder prolongs its lease or records progress; also a cancel request to the holder.
 * - `requeue`: a retry later, a hand-back at shutdown, or the sweeper taking back a run whose lease ended.
 */
export const RUN_EVENTS = ["approve", "claim", "take_over", "renew", "requeue", "succeed", "fail", "cancel"] as const;
export type RunEvent = (typeof RUN_EVENTS)[number];

const ENDED = {
  approve: null,
  claim: null,
  take_over: null,
  renew: null,
  requeue: null,
  succeed: null,
  fail: null,
  cancel: null,
} as const satisfies Record<RunEvent, null>;

export const RUN_TRANSITIONS: Record<RunState, Record<RunEvent, RunState | null>> = {
  awaiting_approval: {
    approve: "queued",
    claim: null,
    take_over: null,
    renew: null,
    requeue: null,
    succeed: null,
    fail: null,
    cancel: "cancelled",
  },
  queued: {
    approve: null,
    claim: "running",
    take_over: null,
    renew: null,
    requeue: null,
    succeed: null,
    fail: null,
    cancel: "cancelled",
  },
  running: {
    approve: null,
    claim: null,
    take_over: "running",
    renew: "running",
    requeue: "queued",
    succeed: "succeeded",
    fail: "failed",
    cancel: "cancelled",
  },
  succeeded: ENDED,
  failed: ENDED,
  cancelled: ENDED,
};

/** Whether nothing can happen to a run in this state any more. */
export function hasEnded(state: RunState): boolean {
  return RUN_EVENTS.every((event) => RUN_TRANSITIONS[state][event] === null);
}
