import { describeError } from "@rowback/jobs";
import closeWithGrace from "close-with-grace";
import { readConfig } from "./config.ts";
import { createLog } from "./log.ts";
import { startWorker } from "./worker.ts";

// What must end after the runs had their grace: handing them back, and closing connections. A second signal ends the
// process at once; its runs are taken back when their leases end.
const CLOSE_MS = 15_000;

const config = readConfig();
const log = createLog(config.logLevel, { worker: config.workerName });
const worker = await startWorker(config, { log });

closeWithGrace(
  {
    delay: config.graceMs + CLOSE_MS,
    logger: false,
    onTimeout: () => log.error({}, "the worker did not end in time"),
  },
  async ({ err, signal }) => {
    if (err !== undefined) log.fatal({ error: describeError(err) }, "the worker ends because of a defect");
    else log.info({ signal }, "the worker was told to end");
    await worker.close();
  },
);
