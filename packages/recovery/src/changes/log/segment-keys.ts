/** Where a source's change log is (docs/CHANGE-LOG.md, "From WAL to objects"). */
export interface SegmentName {
  readonly sourceId: string;
  /** Counts the slots of a source. */
  readonly epoch: number;
  /** Commit LSN of the first transaction: 16 hexadecimal digits in lower case. */
  readonly first: string;
  readonly last: string;
  /** 0, unless the first transaction began in an earlier segment. */
  readonly piece: number;
}

/** The folder-like prefix of all sources; everything under it is Rowback's. */
export const SOURCES_PREFIX = "sources/";

/** All change-log objects of a source, of one epoch where that is named, start with this. */
export function changesPrefix(sourceId: string, epoch?: number): string {
  const all = `${SOURCES_PREFIX}${sourceId}/changes/`;
  return epoch === undefined ? all : `${all}${decimal(epoch, 8)}/`;
}

export function segmentKey({ sourceId, epoch, first, last, piece }: SegmentName): string {
  return `${changesPrefix(sourceId, epoch)}${first}-${last}-${decimal(piece, 6)}`;
}

const UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}";
const KEY = new RegExp(
  `^sources/(?<sourceId>${UUID})/changes/(?<epoch>\\d{8})/(?<first>[0-9a-f]{16})-(?<last>[0-9a-f]{16})-(?<piece>\\d{6})$`,
);

/** What a key says of its segment; null for a key that is no segment's. */
export function parseSegmentKey(key: string): SegmentName | null {
  const { sourceId, epoch, first, last, piece } = KEY.exec(key)?.groups ?? {};
  if (sourceId === undefined || first === undefined || last === undefined) return null;
  return { sourceId, epoch: Number(epoch), first, last, piece: Number(piece) };
}

function decimal(value: number, digits: number): string {
  return String(value).padStart(digits, "0");
}
