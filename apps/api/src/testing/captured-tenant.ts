import { beginEpoch, publishSegments, takeCapture, turnCaptureOn } from "@rowback/db";
import { finishBackup, runOf, type TestApi, type TestTenant } from "./test-api.ts";

const MINUTE = 60_000_000n;
/** Now, in microseconds; the minutes of a test are counted from an hour before it. */
const START = (BigInt(Date.now()) - 3_600_000n) * 1_000n;

/** A minute of a test, as each side has it. */
export const at = (minute: number): bigint => START + BigInt(minute) * MINUTE;
export const iso = (minute: number): string => new Date(Number(at(minute) / 1_000n)).toISOString();
export const lsn = (minute: number): string => (minute * 256 + 4_096).toString(16).padStart(16, "0");

/** A tenant whose source is captured from minute 0 on up to minute `covered`. */
export async function capturedTenant(api: TestApi, covered: number): Promise<TestTenant> {
  const tenant = await api.tenant();
  const { sourceId } = tenant;
  await turnCaptureOn(api.db.system, { sourceId, slotName: "s", publicationName: "p", findings: [] });
  const epoch = await beginEpoch(api.db.system, { sourceId, startXid: 100n, startLsn: lsn(0), startedAt: at(0) });
  const lease = await takeCapture(api.db.system, { sourceId, worker: "w", leaseMs: 60_000 });
  if (lease === null) throw new Error("the capture is taken");
  await publishSegments(api.db.system, lease, epoch, [], { lsn: lsn(covered), at: at(covered) });
  return tenant;
}

/** A backup that succeeded at this minute, before any transaction from `xid` on. */
export async function backupAt(
  api: TestApi,
  tenant: TestTenant,
  minute: number,
  xid: number,
  body: unknown = {},
): Promise<string> {
  const { id } = runOf(await api.call("POST", "/v1/backups", { user: tenant.owner, body }));
  await finishBackup(api.db, id, { pgSnapshot: `${xid}:${xid}:`, at: new Date(iso(minute)), endLsn: lsn(minute) });
  return id;
}
