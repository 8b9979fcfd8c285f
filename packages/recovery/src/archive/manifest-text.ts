import { createHash } from "node:crypto";
import { z } from "zod";
import { RecoveryError } from "../errors.ts";
import { FORMAT_VERSION, Manifest } from "./manifest.ts";
import { manifestContradiction } from "./manifest-check.ts";

const BLANK = "0".repeat(64);
/** `digest` is the last member, so it stands at the very end of the text. */
const DIGEST_AT_END = /"digest": "(?<digest>[0-9a-f]{64})"\n\}\n$/;
/** `"\n}\n`, behind the digits. */
const TAIL = 4;
/** Enough of the end to hold the digest's whole line. */
const END_BYTES = 128;

/** A manifest's bytes, digest included (docs/FORMAT.md, "Manifest"). */
export function encodeManifest(manifest: Manifest): Buffer {
  const text = Buffer.from(`${JSON.stringify({ ...manifest, digest: BLANK }, null, 2)}\n`);
  text.write(sha256(text), text.length - TAIL - BLANK.length, "ascii");
  return text;
}

/**
 * A stored manifest, checked: version, digest, shape, and figures that add up.
 * @throws RecoveryError `archive_damaged`, `manifest_unsupported`, `manifest_invalid`
 */
export function decodeManifest(bytes: Buffer): Manifest {
  const json = parse(bytes);
  checkVersion(json);
  checkDigest(bytes);
  const manifest = Manifest.safeParse(json);
  if (!manifest.success) {
    throw new RecoveryError("manifest_invalid", "The manifest does not have the documented shape", {
      cause: manifest.error,
    });
  }
  const contradiction = manifestContradiction(manifest.data);
  if (contradiction !== null)
    throw new RecoveryError("manifest_invalid", `The manifest contradicts itself: ${contradiction}`);
  return manifest.data;
}

/** Before the digest: another version may take it otherwise. */
function checkVersion(json: unknown): void {
  const head = z.object({ format: z.literal("rowback"), version: z.int() }).safeParse(json);
  if (!head.success) throw damaged("it does not say which format it has");
  if (head.data.version === FORMAT_VERSION) return;
  const { version } = head.data;
  throw new RecoveryError(
    "manifest_unsupported",
    `The backup has format ${version}; this Rowback reads ${FORMAT_VERSION}`,
    {
      hint: "Use the Rowback version that made the backup, or a newer one.",
    },
  );
}

function checkDigest(bytes: Buffer): void {
  const { digest } = DIGEST_AT_END.exec(bytes.subarray(-END_BYTES).toString("latin1"))?.groups ?? {};
  const blanked = Buffer.from(bytes);
  if (digest !== undefined) blanked.write(BLANK, bytes.length - TAIL - BLANK.length, "ascii");
  if (digest === undefined || digest !== sha256(blanked)) throw damaged("its digest differs");
}

function parse(bytes: Buffer): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw damaged("it is not JSON");
  }
}

function damaged(how: string): RecoveryError {
  return new RecoveryError("archive_damaged", `The manifest is not as it was written: ${how}`, {
    hint: "Restore from another backup, and check the object store.",
  });
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
