import { RecoveryError } from "../../errors.ts";

/** Segments of the change log are not sealed yet: where everything is to be, there must not be a log in clear beside it. */
export function captureInClear(sourceId: string): RecoveryError {
  return new RecoveryError("conflict", "The change log is stored in clear, and this source is to be encrypted.", {
    sourceId,
    hint: "Choose for this source: encryption (end the capture first), or the change log (encryption: false).",
  });
}
