import { StorageError } from "../errors.ts";
import { invalidKey } from "../object-key.ts";

/** The error number's name of a failed system call, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined;
}

/** A failed system call, in the words of the store. What is no system error passes through. */
export function fromSystemError(error: unknown, doing: string, key?: string): unknown {
  if (error instanceof StorageError) return error;
  const errno = errnoOf(error);
  const what = `${doing}${key === undefined ? "" : ` ${key}`}`;
  switch (errno) {
    case undefined:
      return error;
    case "ENOSPC":
    case "EDQUOT":
      return new StorageError("store_full", `No space is left in the store's folder: ${what} (${errno}).`, {
        key,
        cause: error,
        hint: "Free space on the store's filesystem, or raise its quota.",
      });
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return new StorageError("store_denied", `The store's folder refused: ${what} (${errno}).`, {
        key,
        cause: error,
        hint: "Give the user that runs Rowback read and write access to the store's folder.",
      });
    case "ENOTDIR":
    case "EISDIR":
    case "ENOTEMPTY":
      return invalidKey(key ?? "", "is another key's folder, or lies beneath another key", error);
    case "ENAMETOOLONG":
      return invalidKey(key ?? "", "is too long a path for the store's filesystem", error);
    case "ELOOP":
      return invalidKey(key ?? "", "leads through a symbolic link", error);
    // A network filesystem whose server is gone.
    case "ETIMEDOUT":
    case "EHOSTDOWN":
    case "EHOSTUNREACH":
    case "ENOTCONN":
      return new StorageError("store_unreachable", `The store's filesystem does not answer: ${what} (${errno}).`, {
        key,
        cause: error,
      });
    default:
      return new StorageError("store_error", `The store's filesystem failed: ${what} (${errno}).`, {
        key,
        cause: error,
      });
  }
}
