import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { clientTools } from "@rowback/local-services";
import { testDatabase, testFolder } from "@rowback/local-services/testing";
import { openStore } from "@rowback/storage";
import { expect, test } from "vitest";
import { openBackup } from "../archive/backup-reader.ts";
import { equalFingerprints, fingerprintOfCopyStream } from "../archive/fingerprint.ts";
import { newDataKey, parseMasterKeys, unwrapDataKey } from "../archive/master-keys.ts";
import { backupPrefix } from "../archive/object-keys.ts";
import { MemoryKeyRing } from "../archive/testing/test-keys.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import { HARD_TENANTS, hardTypesSql } from "../postgres/testing/fixtures.ts";
import { backupTenant } from "./run.ts";
import { newBackup, testContext, testSource } from "./testing/context.ts";
import { copyText } from "./testing/copy-text.ts";

const run = promisify(execFile);

/** Debian's minimal system has no zstd. */
const hasZstd = existsSync("/usr/bin/zstdcat");

/** The commands of docs/FORMAT.md between these marks, as they stand there. */
async function manualScript(mark: "by-hand" | "decrypt"): Promise<string> {
  const manual = await readFile(new URL("../../../../docs/FORMAT.md", import.meta.url), "utf8");
  const { script } =
    new RegExp(`<!-- ${mark}:begin -->\\s*\`\`\`\\w+\\n(?<script>.*?)\`\`\`\\s*<!-- ${mark}:end -->`, "s").exec(manual)
      ?.groups ?? {};
  if (script === undefined) throw new Error("docs/FORMAT.md has lost its commands");
  return script;
}

test.for(["in clear", "encrypted", "zstd"])(
  "the manual's commands restore a backup without Rowback: %s",
  async (how, { skip }) => {
    skip(how === "zstd" && !hasZstd, "this machine has no zstdcat: apt-get install zstd");
    const database = await testDatabase("by_hand");
    await database.pool.query(await hardTypesSql());
    const root = await testFolder();
    const store = openStore({ driver: "filesystem", root });
    const backup = newBackup();
    const masterKey = randomBytes(32).toString("base64");
    const wrapped = newDataKey(parseMasterKeys(masterKey), { tenantId: backup.tenantId });
    const keys = new MemoryKeyRing([[backup.tenantId, unwrapDataKey(parseMasterKeys(masterKey), wrapped)]]);
    const ctx = { ...(await testContext(database.url)), store, keys };
    const encrypt = how === "encrypted";
    await backupTenant(ctx, {
      ...backup,
      tenantKey: HARD_TENANTS.b,
      tables: null,
      encrypt,
      compression: how === "zstd" ? "zstd" : "gzip",
    });
    await ctx.source.close();

    const stored = join(root, backupPrefix(backup));
    const folder = encrypt ? join(await testFolder(), "clear") : stored;
    if (encrypt)
      await decryptByHand(stored, folder, { masterKey, wrapped: Buffer.from(wrapped.wrapped).toString("hex") });
    const target = await testDatabase("by_hand_target");
    const { psql } = await clientTools();
    const script = (await manualScript("by-hand"))
      .replace("cd backup-folder", 'cd "$FOLDER"')
      .replaceAll("zcat", how === "zstd" ? "zstdcat" : "zcat");
    const { stdout } = await run("sh", ["-eu", "-c", script], {
      env: {
        PATH: `${dirname(psql)}${delimiter}/usr/bin${delimiter}/bin`,
        FOLDER: folder,
        SCRATCH: database.url,
        TARGET: target.url,
        PGOPTIONS: "",
      },
    });
    const [computed, stated, ...parts] = stdout.split("\n");
    expect(computed).toMatch(/^[0-9a-f]{64}$/);
    expect(computed).toBe(stated);
    expect(parts[0]).toMatch(/^part-0-[0-9a-f]{32}: OK$/);

    const { manifest } = await openBackup(store, { ...backup, keys });
    const source = testSource(target.url);
    await source.connect(async (client) => {
      for (const { table, columns, fingerprint } of manifest.tables) {
        const restored = await fingerprintOfCopyStream(copyText(client, table, columns));
        expect(equalFingerprints(restored, fingerprint), tableLabel(table)).toBe(true);
      }
    });
    await source.close();
  },
);

async function decryptByHand(
  from: string,
  to: string,
  { masterKey, wrapped }: { readonly masterKey: string; readonly wrapped: string },
): Promise<void> {
  const script = join(await testFolder(), "decrypt.mjs");
  await writeFile(script, await manualScript("decrypt"));
  await run(process.execPath, [script, from, to, wrapped], { env: { MASTER_KEY: masterKey } });
}
