import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { extractedPackages } from "../debian/extracted-packages.ts";

const run = promisify(execFile);

const PACKAGES = ["ceph-mon", "ceph-osd", "radosgw", "ceph-base", "ceph-common"];
const TRIPLETS: Partial<Record<NodeJS.Architecture, string>> = { x64: "x86_64-linux-gnu", arm64: "aarch64-linux-gnu" };

export interface CephPrograms {
  program(name: string): string;
  /** Runs one of the programs to its end; throws with what it printed. */
  run(name: string, args: readonly string[]): Promise<void>;
  env: Record<string, string>;
  libraries: string;
}

/** Ceph's monitor, storage daemon and S3 gateway of Debian's packages. Throws PackagesUnavailable. */
export async function cephPrograms(): Promise<CephPrograms> {
  const { root, env } = await extractedPackages("ceph", PACKAGES, async (candidate) => {
    for (const name of ["ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "osdmaptool", "monmaptool"]) {
      await run(join(candidate.root, "usr/bin", name), ["--version"], { env: candidate.env });
    }
  });
  const program = (name: string): string => join(root, "usr/bin", name);
  const libraries = join(root, "usr/lib", TRIPLETS[process.arch] ?? "");
  if (!existsSync(join(libraries, "rados-classes"))) throw new Error(`Ceph's plug-ins are not in ${libraries}`);
  return {
    program,
    env,
    libraries,
    async run(name, args) {
      await run(program(name), [...args], { env, timeout: 60_000 });
    },
  };
}
