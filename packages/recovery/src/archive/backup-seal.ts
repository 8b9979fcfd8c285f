import type { Encryption } from "./manifest.ts";
import type { BackupId } from "./object-keys.ts";
import { type SealKey, uuidBytes } from "./sealed-block.ts";

/** What seals one backup, and binds all it holds to this backup and to the attempt that wrote it (docs/FORMAT.md, "Encryption"). */
export interface BackupSeal {
  readonly key: SealKey;
  readonly encryption: Encryption;
  readonly id: BackupId;
}

/** For one attempt to write a backup. */
export function newBackupSeal(key: SealKey, id: BackupId, writer: string): BackupSeal {
  return { key, encryption: { cipher: "aes-256-gcm", keyId: key.id, writer }, id };
}

export function manifestAad(id: BackupId, encryption: Encryption): Buffer {
  return Buffer.concat([Buffer.from("rowback.manifest.v1"), place(id, encryption)]);
}

/** Of a frame: where it stands, and whether it is its part's last. */
export function frameAad({ id, encryption }: BackupSeal, part: number, frame: number, isEnd: boolean): Buffer {
  const position = Buffer.alloc(9);
  position.writeUInt32BE(part, 0);
  position.writeUInt32BE(frame, 4);
  position.writeUInt8(isEnd ? 1 : 0, 8);
  return Buffer.concat([Buffer.from("rowback.block.v1"), place(id, encryption), position]);
}

function place(id: BackupId, { writer }: Encryption): Buffer {
  return Buffer.concat([uuidBytes(id.tenantId), uuidBytes(id.backupId), Buffer.from(writer, "hex")]);
}
