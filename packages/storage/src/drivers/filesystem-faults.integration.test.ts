import { mkdir, readdir, readFile, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { smallDisk, smallDiskFault, testFolder } from "@rowback/local-services/testing";
import { describe, expect, it } from "vitest";
import { keysOf, MIB, patternBody, readText, text } from "../conformance/harness.ts";
import { openFilesystemStore } from "./filesystem.ts";
import { listFolder } from "./filesystem-listing.ts";

describe("keys of the filesystem driver", () => {
  it("don't leave the root through a symbolic link, to a folder or to a file", async () => {
    const root = testFolder();
    const outside = testFolder();
    await writeFile(join(outside, "secret"), "secret");
    await symlink(outside, join(root, "link"));
    await symlink(join(outside, "secret"), join(root, "file"));
    await mkdir(join(root, "real"));
    await symlink(outside, join(root, "real", "link"));
    const store = openFilesystemStore({ root });

    for (const key of ["link/secret", "link/new", "real/link/secret", "real/link/deeper/new"]) {
      await expect(store.put(key, text("x"))).rejects.toMatchObject({ code: "invalid_key" });
      await expect(store.get(key)).rejects.toMatchObject({ name: "StorageError" });
      expect(await store.head(key).catch(() => null)).toBeNull();
      await store.delete([key]).catch(() => {});
    }
    await expect(store.get("file")).rejects.toMatchObject({ code: "invalid_key" });
    expect(await store.head("file")).toBeNull();
    await store.delete(["file"]);
    expect(await keysOf(store.list(""))).toEqual([]);
    await expect(keysOf(store.list("link/"))).rejects.toMatchObject({ code: "invalid_key" });
    expect(await readdir(outside)).toEqual(["secret"]);
    expect(await readFile(join(outside, "secret"), "utf8")).toBe("secret");
  });

  it("may have a root that is a symbolic link itself, or is not there yet", async () => {
    const folder = testFolder();
    await mkdir(join(folder, "disk"));
    await symlink(join(folder, "disk"), join(folder, "root"));
    const store = openFilesystemStore({ root: join(folder, "root", "new", "root") });
    await store.put("a/b", text("1"));
    expect(await readText(store, "a/b")).toBe("1");
    expect(await readFile(join(folder, "disk", "new", "root", "a", "b"), "utf8")).toBe("1");
  });

  it("can't be another key's folder", async () => {
    const store = openFilesystemStore({ root: testFolder() });
    await store.put("a", text("1"));
    await expect(store.put("a/b", text("2"))).rejects.toMatchObject({ code: "invalid_key", key: "a/b" });
    await store.put("folder/b", text("2"));
    await expect(store.put("folder", text("3"))).rejects.toMatchObject({ code: "invalid_key", key: "folder" });
    expect(await keysOf(store.list(""))).toEqual(["a", "folder/b"]);
  });
});

describe("what a crash leaves", () => {
  it("is never listed, and collected when nobody has written to it for long enough", async () => {
    const root = testFolder();
    const temporary = join(root, ".rowback", "tmp");
    await mkdir(temporary, { recursive: true });
    await writeFile(join(temporary, "of-a-dead-process"), "half");
    await writeFile(join(temporary, "of-a-live-one"), "half");
    const yesterday = new Date(Date.now() - 25 * 60 * 60 * 1000);
    await utimes(join(temporary, "of-a-dead-process"), yesterday, yesterday);
    const store = openFilesystemStore({ root });

    expect(await keysOf(store.list(""))).toEqual([]);
    expect(await keysOf(store.list("."))).toEqual([]);
    expect(await store.collectUnfinished({ before: new Date(Date.now() - 24 * 60 * 60 * 1000) })).toBe(1);
    expect(await readdir(temporary)).toEqual(["of-a-live-one"]);
  });

  it("is no empty folder after deletes", async () => {
    const root = testFolder();
    const store = openFilesystemStore({ root });
    await store.put("tenants/1/backups/1/part-1", text("1"));
    await store.put("tenants/1/backups/1/manifest.json", text("1"));
    await store.put("tenants/2/backups/1/part-1", text("1"));
    await store.delete(["tenants/1/backups/1/manifest.json", "tenants/1/backups/1/part-1"]);
    expect(await readdir(join(root, "tenants"))).toEqual(["2"]);
  });
});

describe("a large folder", () => {
  it("is listed in order whatever is held at once", async () => {
    const root = testFolder();
    const store = openFilesystemStore({ root });
    const keys = Array.from({ length: 57 }, (_, at) => (at % 5 === 0 ? `f/${at}/x` : `f/${at}.txt`));
    for (const key of keys) await store.put(key, text(key));
    const listed = (entriesHeld: number) =>
      keysOf(listFolder({ root, prefix: "f", startAfter: undefined, signal: undefined, entriesHeld }));

    const all = await listed(1_000);
    expect(all.toSorted()).toEqual(keys.toSorted());
    for (const held of [1, 2, 5, 56, 57, 58]) expect(await listed(held)).toEqual(all);
  });
});

describe.skipIf(smallDiskFault() !== null)("a disk of 8 MiB", () => {
  it("gives store_full, leaves nothing of the object, and takes the next that fits", async () => {
    const { root } = smallDisk(8);
    const store = openFilesystemStore({ root });
    await store.put("old", patternBody(MIB));

    const full = store.put("too/large", patternBody(20 * MIB));

    await expect(full).rejects.toMatchObject({ code: "store_full", retryable: true, key: "too/large" });
    expect(await keysOf(store.list(""))).toEqual(["old"]);
    expect(await readdir(join(root, ".rowback", "tmp"))).toEqual([]);
    await expect(store.put("old", patternBody(20 * MIB))).rejects.toMatchObject({ code: "store_full" });
    expect((await store.head("old"))?.bytes).toBe(MIB);
    await store.put("fits", patternBody(5 * MIB));
  });

  it("gives store_denied once it is read-only, to the probe too", async () => {
    const { root, remount } = smallDisk(8);
    const store = openFilesystemStore({ root });
    await store.put("old", text("1"));
    await store.probe();
    remount("ro");
    const denied = { code: "store_denied", retryable: false };

    await expect(store.put("new", text("2"))).rejects.toMatchObject(denied);
    await expect(store.delete(["old"])).rejects.toMatchObject(denied);
    await expect(store.probe()).rejects.toMatchObject(denied);
    expect(await readText(store, "old")).toBe("1");
  });
});
