import { StorageError } from "./errors.ts";

/** S3's limit, in bytes of UTF-8. */
const LONGEST_KEY = 1024;
/** NAME_MAX of Linux and macOS filesystems, in bytes of UTF-8. */
const LONGEST_SEGMENT = 255;
/** The first segment that drivers keep for themselves: temporary files, probes. */
export const RESERVED_SEGMENT = ".rowback";
// Control characters and the two non-characters can't stand in the XML of an S3 listing; a backslash separates folders on Windows.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const FORBIDDEN = /[\u0000-\u001f\u007f\\\ufffe\uffff]/u;

/**
 * Refuses every key that could name something outside the store, or that a driver could not keep: segments are separated by `/`, none is empty,
 * `.` or `..`, none is longer than 255 bytes, the whole not longer than 1,024; no control characters, no backslash, no half surrogate pairs.
 *
 * @throws StorageError `invalid_key`
 */
export function assertKey(key: string): void {
  const fault = textFault(key) ?? key.split("/").map(segmentFault).find(Boolean) ?? reservedFault(key);
  if (fault !== undefined) throw invalidKey(key, fault);
}

/**
 * As `assertKey`, for the beginning of keys: the last segment may be cut anywhere.
 *
 * @throws StorageError `invalid_key`
 */
export function assertPrefix(prefix: string): void {
  if (prefix === "") return;
  const fault = textFault(prefix) ?? prefix.split("/").slice(0, -1).map(segmentFault).find(Boolean);
  if (fault !== undefined) throw invalidKey(prefix, fault);
}

/** The order of keys: by UTF-8 bytes, as S3 lists them. (JavaScript's own order differs beyond U+FFFF.) */
export function compareKeys(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

/** `invalid_key`, said of `key` without pasting an endless name into the message. */
export function invalidKey(key: string, fault: string, cause?: unknown): StorageError {
  return new StorageError("invalid_key", `The object key ${JSON.stringify(key.slice(0, 120))} ${fault}.`, {
    key,
    cause,
  });
}

function textFault(text: string): string | undefined {
  if (text === "") return "is empty";
  if (!text.isWellFormed()) return "is no well-formed Unicode";
  if (FORBIDDEN.test(text)) return "holds a forbidden character";
  if (Buffer.byteLength(text) > LONGEST_KEY) return `is longer than ${LONGEST_KEY} bytes`;
  return undefined;
}

function segmentFault(segment: string): string | undefined {
  if (segment === "") return "has an empty segment";
  if (segment === "." || segment === "..") return "has a segment that names another folder";
  if (Buffer.byteLength(segment) > LONGEST_SEGMENT) return `has a segment longer than ${LONGEST_SEGMENT} bytes`;
  return undefined;
}

function reservedFault(key: string): string | undefined {
  return key.split("/")[0] === RESERVED_SEGMENT ? `begins with the reserved "${RESERVED_SEGMENT}"` : undefined;
}
