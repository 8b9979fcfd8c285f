import type { WrittenSegment } from "../log/segment-writer.ts";
import type { DdlTrigger } from "./ddl-trigger.ts";
import type { Gap } from "./gap.ts";
import type { PublishedTable } from "./published-tables.ts";

/** How far the log reaches: every transaction whose commit stands below `lsn` is in it, or was nobody's. */
export interface Covered {
  /** 16 hexadecimal digits. */
  readonly lsn: string;
  /** Every transaction committed up to here is in it, in microseconds since 1970 by the source's clock. */
  readonly at: bigint;
}

/**
 * Where a capture tells what it has made durable. Every call throws `lease_lost` when another worker captures this source now, and
 * has then changed nothing.
 */
export interface CaptureTarget {
  /** @param told tables as event triggers told of them below `covered`: remembered in the same transaction, or a successor would not hear of it */
  publish(segments: readonly WrittenSegment[], covered: Covered, told: readonly PublishedTable[]): Promise<void>;
  /** Records gaps, after their objects. */
  declare(gaps: readonly Gap[]): Promise<void>;
  /** The tables as whoever captured before saw them, at a position below `covered`; null: nobody did in this epoch. */
  rememberedTables(): Promise<SeenTables | null>;
  rememberTables(seen: SeenTables): Promise<void>;
}

/** The publication's tables at a moment of the source. */
export interface SeenTables {
  readonly tables: readonly PublishedTable[];
  /** Labels of protected tables that are not in the publication, and for which a gap was declared. */
  readonly unpublished: readonly string[];
  /** The moment: a position and a time that the server had reached just before it was looked. */
  readonly lsn: string;
  readonly at: bigint;
  /** Null: no event triggers tell of changed columns. */
  readonly ddlTrigger: DdlTrigger | null;
}
