import { createHash } from "node:crypto";
import { gunzipSync, gzipSync } from "node:zlib";
import { z } from "zod";
import { RecoveryError } from "../errors.ts";
import { type BackupSeal, manifestAad } from "./backup-seal.ts";
import { FORMAT_VERSION, Manifest, SealedManifest } from "./manifest.ts";
import { manifestContradiction } from "./manifest-check.ts";
import { openBlock, type SealKey, sealBlock } from "./sealed-block.ts";

const BLANK = "0".repeat(64);
/** `digest` is the last member, so it stands at the very end of the text. */
const DIGEST_AT_END = /"digest": "(?<digest>[0-9a-f]{64})"\n\}\n$/;
/** `"\n}\n`, behind the digits. */
const TAIL = 4;
/** Enough of the end to hold the digest's whole line. */
const END_BYTES = 128;

/** A manifest's bytes, digest included (docs/FORMAT.md, "Manifest"). */
export function encodeManifest(manifest: Manifest): Buffer {
  return withDigest(manifest);
}

/** The manifest of an encrypted backup: the same bytes, sealed, and around them only what leads to the key. */
export function encodeSealedManifest(manifest: Manifest, { key, encryption, id }: BackupSeal): Buffer {
  const sealed = sealBlock(key, manifestAad(id, encryption), gzipSync(encodeManifest(manifest)));
  const { format, version, backupId, tenantId, writer } = manifest;
  return withDigest({
    format,
    version,
    backupId,
    tenantId,
    writer,
    encryption,
    sealed: sealed.toString("base64"),
  } satisfies SealedManifest);
}

/** A manifest, and the key it was sealed with; null for one in clear. */
export interface DecodedManifest {
  readonly manifest: Manifest;
  readonly key: SealKey | null;
}

/**
 * A stored manifest, checked: version, digest, shape, and figures that add up.
 * @param findKey the data key of an encrypted backup
 * @throws RecoveryError `archive_damaged`, `manifest_unsupported`, `manifest_invalid`, and what `findKey` throws
 */
export async function decodeManifest(
  bytes: Buffer,
  findKey: (sealed: SealedManifest) => Promise<SealKey>,
): Promise<DecodedManifest> {
  const outer = checked(bytes);
  const envelope = SealedManifest.safeParse(outer);
  if (!envelope.success) {
    const manifest = consistent(outer);
    if (manifest.encryption !== null) throw damaged("it says that it is encrypted, and is not");
    return { manifest, key: null };
  }
  const { backupId, tenantId, writer, encryption, sealed } = envelope.data;
  const key = await findKey(envelope.data);
  const text = gunzipSync(
    openBlock(key, manifestAad({ backupId, tenantId }, encryption), Buffer.from(sealed, "base64")),
  );
  const manifest = consistent(checked(text));
  const inner = manifest.encryption;
  if (inner?.keyId !== encryption.keyId || inner.writer !== encryption.writer || manifest.writer !== writer)
    throw damaged("it was sealed for another");
  return { manifest, key };
}

/**
 * Which attempt's parts a stored manifest names, sealed or not; undefined for one from before attempts had names.
 * @throws RecoveryError `archive_damaged`, `manifest_unsupported`, `manifest_invalid`
 */
export function manifestWriter(bytes: Buffer): string | undefined {
  const json = checked(bytes);
  const envelope = SealedManifest.safeParse(json);
  return envelope.success ? envelope.data.writer : consistent(json).writer;
}

/** The JSON of a text whose version and digest are right. */
function checked(bytes: Buffer): unknown {
  const json = parse(bytes);
  checkVersion(json);
  checkDigest(bytes);
  return json;
}

function consistent(json: unknown): Manifest {
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

function withDigest(fields: Manifest | SealedManifest): Buffer {
  const text = Buffer.from(`${JSON.stringify({ ...fields, digest: BLANK }, null, 2)}\n`);
  text.write(sha256(text), text.length - TAIL - BLANK.length, "ascii");
  return text;
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
