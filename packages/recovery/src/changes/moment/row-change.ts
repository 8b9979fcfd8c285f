import { RecoveryError } from "../../errors.ts";

/**
 * One change of one row, its rows over the columns of the moment. Texts hold one character per byte (latin1): every separator and escape of
 * COPY is ASCII, so nothing here needs to know what the other bytes mean.
 */
export type RowChange =
  | { readonly op: "insert"; readonly row: readonly string[]; readonly shared: boolean; readonly lsn: bigint }
  | {
      readonly op: "update";
      /** The row before, or at least its identity; null: its key stayed as it was. */
      readonly old: readonly string[] | null;
      readonly row: readonly string[];
      readonly shared: boolean;
      readonly lsn: bigint;
    }
  | { readonly op: "delete"; readonly row: readonly string[]; readonly shared: boolean; readonly lsn: bigint }
  /** The row with this key belongs to a tenant (ours or another) since it was updated, and nobody knows whose it was before. */
  | { readonly op: "moved"; readonly row: readonly string[]; readonly toUs: boolean; readonly lsn: bigint }
  | { readonly op: "truncate"; readonly lsn: bigint };

/** What became of a row of the base: `kept`, `gone`, the rows that stand in its place, or nothing to say in this pass. */
export type Fate = "kept" | "gone" | "other_pass" | { readonly row: string };

/** A row that the base does not have. `claimed`: only if the row it refers to is the tenant's. */
export interface AddedRow {
  readonly row: string;
  readonly claimed: boolean;
}

/** What the changes of one table come to, held by row, for those rows that a pass takes. */
export interface FoldedChanges {
  apply(change: RowChange): void;
  /** True: no row of the base is left. */
  readonly truncated: boolean;
  /** Told of every row of the base, once, over the columns of the moment. */
  meet(row: string): Fate;
  /** After the base: what it does not have. @throws RecoveryError `change_log_damaged` where the base had to have a row */
  added(): Iterable<AddedRow>;
  /** After `added`: a row went to another tenant or came from one, which nobody noticed when it was captured. */
  readonly crossed: boolean;
}

/** Something has to be in the log, the base or the store, and is not. */
export function damagedLog(table: string, what: string, cause?: unknown): RecoveryError {
  return new RecoveryError("change_log_damaged", `The change log of ${table} is damaged or incomplete: ${what}`, {
    table,
    hint: "Take a full backup, and restore to a moment before the damage or after that backup.",
    cause,
  });
}

/** A row changed its tenant under a replica identity that does not say so, and what would be needed with it was not written. */
export function movedRow(table: string, what: string): RecoveryError {
  return new RecoveryError(
    "moment_unreachable",
    `Before this moment a row of ${table} came from another tenant or went to one: ${what}.`,
    {
      table,
      hint: `Choose a moment before that, or one after the next full backup. With the tenant's column in the replica identity of ${table} such a move is a gap in the recovery window.`,
    },
  );
}

/** FNV-1a over the characters (http://www.isthe.com/chongo/tech/comp/fnv/), 32 bits. Which pass a row belongs to. */
export function passOf(text: string, passes: number): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return (hash >>> 0) % passes;
}

/** Which rows a pass takes. `linked`: rows of key changes that lean on each other's values, all of the first pass. */
export interface Pass {
  readonly number: number;
  readonly passes: number;
  readonly linked: ReadonlySet<string>;
}

export function takes({ number, passes, linked }: Pass, key: string): boolean {
  if (passes === 1) return true;
  return (linked.has(key) ? 0 : passOf(key, passes)) === number;
}
