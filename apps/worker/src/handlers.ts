import type { ClaimedRun } from "@rowback/db";
import type { Handlers } from "@rowback/jobs";
import { backUp } from "./handlers/backup.ts";
import { verify } from "./handlers/backup-verify.ts";
import { setUp } from "./handlers/capture-setup.ts";
import { tearDown } from "./handlers/capture-teardown.ts";
import { discover } from "./handlers/discovery.ts";
import { history } from "./handlers/history.ts";
import { restore } from "./handlers/restore.ts";
import { restorePoint } from "./handlers/restore-point.ts";
import { preview } from "./handlers/restore-preview.ts";
import { erase } from "./handlers/tenant-erase.ts";
import type { WorkerContext } from "./handlers/worker-context.ts";
import type { Outcomes } from "./outcomes.ts";

/** Every kind of run and the verb it comes down to; a forgotten one does not compile. */
export function createHandlers(worker: WorkerContext): Handlers<ClaimedRun, Outcomes> {
  return {
    discovery: (task) => discover(worker, task),
    backup: (task) => backUp(worker, task),
    backup_verify: (task) => verify(worker, task),
    restore_preview: (task) => preview(worker, task),
    restore: (task) => restore(worker, task),
    tenant_erase: (task) => erase(worker, task),
    capture_setup: (task) => setUp(worker, task),
    capture_teardown: (task) => tearDown(worker, task),
    restore_point: (task) => restorePoint(worker, task),
    history: (task) => history(worker, task),
  } satisfies Handlers<ClaimedRun, Outcomes>;
}
