import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import { clientTools } from "@rowback/local-services";
import { testDatabase, testFolder } from "@rowback/local-services/testing";
import { openStore } from "@rowback/storage";
import { expect, test } from "vitest";
import { openBackup } from "../archive/backup-reader.ts";
import { equalFingerprints, fingerprintOfCopyStream } from "../archive/fingerprint.ts";
import { backupPrefix } from "../archive/object-keys.ts";
import { tableLabel } from "../postgres/tenancy.ts";
import { HARD_TENANTS, hardTypesSql } from "../postgres/testing/fixtures.ts";
import { backupTenant } from "./run.ts";
import { newBackup, testContext, testSource } from "./testing/context.ts";
import { copyText } from "./testing/copy-text.ts";

const run = promisify(execFile);

/** The commands of docs/FORMAT.md, as they stand there. */
async function byHandScript(): Promise<string> {
  const manual = await readFile(new URL("../../../../docs/FORMAT.md", import.meta.url), "utf8");
  const { script } =
    /<!-- by-hand:begin -->\s*```sh\n(?<script>.*?)```\s*<!-- by-hand:end -->/s.exec(manual)?.groups ?? {};
  if (script === undefined) throw new Error("docs/FORMAT.md has lost its commands");
  return script;
}

test("the manual's commands restore a backup without Rowback", async () => {
  const database = await testDatabase("by_hand");
  await database.pool.query(await hardTypesSql());
  const root = await testFolder();
  const store = openStore({ driver: "filesystem", root });
  const ctx = { ...(await testContext(database.url)), store };
  const backup = newBackup();
  await backupTenant(ctx, { ...backup, tenantKey: HARD_TENANTS.b, tables: null });
  await ctx.source.close();

  const target = await testDatabase("by_hand_target");
  const { psql } = await clientTools();
  const script = (await byHandScript()).replace("cd backup-folder", 'cd "$FOLDER"');
  const { stdout } = await run("sh", ["-eu", "-c", script], {
    env: {
      PATH: `${dirname(psql)}${delimiter}/usr/bin${delimiter}/bin`,
      FOLDER: join(root, backupPrefix(backup)),
      SCRATCH: database.url,
      TARGET: target.url,
      PGOPTIONS: "",
    },
  });
  const [computed, stated, ...parts] = stdout.split("\n");
  expect(computed).toMatch(/^[0-9a-f]{64}$/);
  expect(computed).toBe(stated);
  expect(parts[0]).toBe("part-0: OK");

  const { manifest } = await openBackup(store, backup);
  const source = testSource(target.url);
  await source.connect(async (client) => {
    for (const { table, columns, fingerprint } of manifest.tables) {
      const restored = await fingerprintOfCopyStream(copyText(client, table, columns));
      expect(equalFingerprints(restored, fingerprint), tableLabel(table)).toBe(true);
    }
  });
  await source.close();
});
