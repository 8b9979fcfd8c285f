/** What came of it all: the last line, in this order. Every count but the first three must be 0. */
export interface ChaosReport {
  readonly seed: number;
  readonly faults: number;
  readonly runs: number;
  /** Runs that are gone, have not ended, or succeeded without their effect. */
  readonly lost: number;
  /** Runs that ended or took effect more than once, and effects that no succeeded run accounts for. */
  readonly duplicated: number;
  /** Manifests without a succeeded backup, succeeded backups without their manifest. */
  readonly falseManifests: number;
  /** Objects of no backup, and uploads that never ended, after the sweeper ran; and what was left in the source. */
  readonly orphans: number;
  /** Backups that do not restore to what was backed up, restores that did not bring back what they say. */
  readonly corrupt: number;
}

export function isClean(report: ChaosReport): boolean {
  const { lost, duplicated, falseManifests, orphans, corrupt } = report;
  return [lost, duplicated, falseManifests, orphans, corrupt].every((count) => count === 0);
}

export type Findings = Readonly<
  Record<"lost" | "duplicated" | "falseManifests" | "orphans" | "corrupt", readonly string[]>
>;

export function reportOf(run: { seed: number; faults: number; runs: number }, findings: Findings): ChaosReport {
  const { seed, faults, runs } = run;
  return {
    seed,
    faults,
    runs,
    lost: findings.lost.length,
    duplicated: findings.duplicated.length,
    falseManifests: findings.falseManifests.length,
    orphans: findings.orphans.length,
    corrupt: findings.corrupt.length,
  };
}
