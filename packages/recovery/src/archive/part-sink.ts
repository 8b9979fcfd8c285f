import type { StoredObject } from "@rowback/storage";

/** Takes a part's blocks, in clear or to be sealed, and stores them as one object. */
export interface PartSink {
  /** Stored bytes so far. */
  readonly bytes: number;
  /** What a piece of this length comes to when it is stored. */
  storedLength(pieceBytes: number): number;
  /** Resolves when there is room for more. The piece must not change afterwards. */
  write(piece: Uint8Array): Promise<void>;
  /** Ends the object; it is durable when this resolves. */
  finish(): Promise<StoredObject>;
  /** Gives the object up; resolves when the store has let go of it. */
  abort(error: unknown): Promise<void>;
}
