import { execFileSync } from "node:child_process";
import { runsAsRoot } from "../process/folders.ts";

export interface UserIds {
  uid: number;
  gid: number;
}

function idsOf(name: string): UserIds | null {
  try {
    const id = (flag: string): number =>
      Number(execFileSync("id", [flag, name], { stdio: ["ignore", "pipe", "ignore"] }));
    return { uid: id("-u"), gid: id("-g") };
  } catch {
    return null;
  }
}

/**
 * PostgreSQL refuses to run as root. Then: as `postgres` where that user exists, else as `nobody`, which exists everywhere
 * (so no user has to be created on somebody's machine). Null when this process isn't root.
 */
export function unprivilegedUser(): UserIds | null {
  if (!runsAsRoot) return null;
  const user = idsOf("postgres") ?? idsOf("nobody");
  if (user === null)
    throw new Error("PostgreSQL can't run as root, and neither the user postgres nor nobody exists here");
  return user;
}
