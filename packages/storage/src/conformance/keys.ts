import { expect, it } from "vitest";
import { keysOf, type MakeStore, readText, storeForTest, text } from "./harness.ts";

export const HOSTILE_KEYS = [
  "",
  "/",
  "/etc/passwd",
  "..",
  "../outside",
  "a/../../outside",
  "a/..",
  "a/./b",
  ".",
  "a//b",
  "a/",
  "a\\..\\b",
  "a\0b",
  "a\nb",
  "\u007f",
  "\ud800",
  "x".repeat(256),
  `folder/${"é".repeat(128)}`,
  Array.from({ length: 6 }, () => "x".repeat(200)).join("/"),
  ".rowback/tmp/x",
];

const UNICODE_KEYS = [
  "tenants/Größe/naïve café",
  "日本語/キー",
  "emoji/🚣‍♀️.json",
  // The same word, composed and decomposed: two keys.
  "\u00e9",
  "e\u0301",
  "a b+c%20d&e=f?g#h;i,j:k@l$m!n*o'p(q)r~s",
  '<xml>&"quotes"',
  "..dots../...",
  "x".repeat(255),
];

export function keyCases(makeStore: MakeStore): void {
  it.each(HOSTILE_KEYS)("refuses %j everywhere", async (key) => {
    const { store, leftovers } = await storeForTest(makeStore);
    const refused = { name: "StorageError", code: "invalid_key", retryable: false };

    await expect(store.put(key, text("x"))).rejects.toMatchObject(refused);
    await expect(store.get(key)).rejects.toMatchObject(refused);
    await expect(store.head(key)).rejects.toMatchObject(refused);
    await expect(store.delete(["fine", key])).rejects.toMatchObject(refused);
    expect(await keysOf(store.list(""))).toEqual([]);
    expect(await leftovers()).toEqual([]);
  });

  it("a delete with an invalid key among its keys deletes nothing", async () => {
    const { store } = await storeForTest(makeStore);
    await store.put("fine", text("x"));
    await expect(store.delete(["fine", "../not"])).rejects.toMatchObject({ code: "invalid_key" });
    expect(await keysOf(store.list(""))).toEqual(["fine"]);
  });

  it.each(["../", "/", "a/../../", "a\0"])("refuses to list below %j", async (prefix) => {
    const { store } = await storeForTest(makeStore);
    await expect(keysOf(store.list(prefix))).rejects.toMatchObject({ code: "invalid_key" });
  });

  it("keeps unicode, odd and long keys as they are", async () => {
    const { store } = await storeForTest(makeStore);
    for (const key of UNICODE_KEYS) await store.put(key, text(key));

    for (const key of UNICODE_KEYS) expect(await readText(store, key)).toBe(key);
    expect((await keysOf(store.list(""))).toSorted()).toEqual(UNICODE_KEYS.toSorted());

    await store.delete(UNICODE_KEYS);
    expect(await keysOf(store.list(""))).toEqual([]);
  });
}
