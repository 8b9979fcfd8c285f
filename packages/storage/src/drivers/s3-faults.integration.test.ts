import { CreateMultipartUploadCommand, ListMultipartUploadsCommand, S3Client } from "@aws-sdk/client-s3";
import { startTcpProxy } from "@rowback/local-services";
import { testS3 } from "@rowback/local-services/testing";
import { describe, expect, it, onTestFinished } from "vitest";
import { keysOf, MIB, patternBody, readText, sha256Of, text } from "../conformance/harness.ts";
import { withPrefix } from "../with-prefix.ts";
import { withRetry } from "../with-retry.ts";
import { openS3Store, type S3StoreOptions } from "./s3.ts";
import { S3Calls } from "./s3-calls.ts";
import { collectStaleUploads } from "./s3-leftovers.ts";

/** A store behind a proxy, and the same store directly. */
async function behindProxy(changes: Partial<S3StoreOptions> = {}) {
  const settings = testS3();
  if (settings === null) throw new Error("there is no S3 server");
  const options: S3StoreOptions = { ...settings, ownPrefix: settings.prefix };
  const proxy = await startTcpProxy({ port: Number(new URL(settings.endpoint).port) });
  const through = openS3Store({ ...options, endpoint: proxy.through(settings.endpoint), ...changes });
  const direct = openS3Store(options);
  const { accessKeyId, secretAccessKey, bucket, prefix, ...place } = settings;
  const client = new S3Client({ ...place, credentials: { accessKeyId, secretAccessKey } });
  onTestFinished(async () => {
    await Promise.all([through.close(), direct.close(), proxy.close()]);
    client.destroy();
  });
  const uploads = async (): Promise<number> =>
    (await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: prefix }))).Uploads?.length ?? 0;
  return {
    store: withPrefix(through, prefix),
    direct: withPrefix(direct, prefix),
    proxy,
    client,
    bucket,
    prefix,
    uploads,
  };
}

const UNREACHABLE = { name: "StorageError", code: "store_unreachable", retryable: true };

describe.skipIf(testS3() === null)("the S3 driver, when the network or the server fails", () => {
  it("says store_unreachable of a server that is down, and works again when it is up", async () => {
    const { store, proxy } = await behindProxy();
    await store.put("object", text("1"));
    proxy.cut();

    await expect(store.put("object", text("2"))).rejects.toMatchObject(UNREACHABLE);
    await expect(store.get("object")).rejects.toMatchObject(UNREACHABLE);
    await expect(store.head("object")).rejects.toMatchObject(UNREACHABLE);
    await expect(keysOf(store.list(""))).rejects.toMatchObject(UNREACHABLE);
    await expect(store.delete(["object"])).rejects.toMatchObject(UNREACHABLE);
    await expect(store.probe()).rejects.toMatchObject(UNREACHABLE);

    proxy.restore();
    expect(await readText(store, "object")).toBe("1");
  });

  it("survives a moment without network under withRetry", async () => {
    const { store, proxy } = await behindProxy();
    const patient = withRetry(store, { attempts: 5, minDelayMs: 20, maxDelayMs: 200, onRetry: () => proxy.restore() });
    proxy.cut();
    await patient.put("object", text("1"));
    proxy.cut();
    expect(await readText(patient, "object")).toBe("1");
    proxy.cut();
    expect(await keysOf(patient.list(""))).toEqual(["object"]);
  });

  it("gives up on a server that keeps silent, whatever is asked", async () => {
    const { store, direct, proxy } = await behindProxy({ callMs: 300 });
    await store.put("object", patternBody(MIB));
    const stream = await store.get("object");
    stream.destroy();
    proxy.blackhole();

    await expect(store.head("object")).rejects.toMatchObject(UNREACHABLE);
    await expect(store.get("object")).rejects.toMatchObject(UNREACHABLE);
    await expect(store.put("silent", text("1"))).rejects.toMatchObject(UNREACHABLE);
    proxy.cut();
    expect(await direct.head("object")).toMatchObject({ bytes: MIB });
  });

  it("ends a stream with an error when the connection breaks in its middle: never early, as if it were whole", async () => {
    const { store, proxy } = await behindProxy();
    await store.put("large", patternBody(20 * MIB));
    proxy.resetAfter(5 * MIB);
    await expect(sha256Of(await store.get("large"))).rejects.toMatchObject(UNREACHABLE);
  });

  it("ends a stream with an error when the server falls silent in its middle, but not when the reader pauses", async () => {
    const { store, proxy } = await behindProxy({ callMs: 500 });
    await store.put("large", patternBody(40 * MIB));
    const sha256 = await sha256Of(patternBody(40 * MIB));

    const pausing = await store.get("large");
    const pause = new Promise((resolve) => setTimeout(resolve, 1_200));
    await pause;
    expect(await sha256Of(pausing)).toBe(sha256);

    const silenced = await store.get("large");
    proxy.blackhole();
    await expect(sha256Of(silenced)).rejects.toMatchObject(UNREACHABLE);
  });

  it("loses no upload to a connection that breaks in its middle: the part is sent again", async () => {
    const { store, direct, proxy, uploads } = await behindProxy();
    const dropped = { at: 18 * MIB, done: false };
    const body = patternBody(40 * MIB, (given) => {
      if (given < dropped.at || dropped.done) return;
      dropped.done = true;
      proxy.cut();
      proxy.restore();
    });
    const stored = await store.put("large", body);
    expect(dropped.done).toBe(true);
    expect(await sha256Of(await direct.get("large"))).toBe(stored.sha256);
    expect(await uploads()).toBe(0);
  });

  it("an abort lets go of a server that keeps silent, in the midst of an upload", async () => {
    const { store, direct, proxy, uploads } = await behindProxy({ callMs: 2_000 });
    const controller = new AbortController();
    const reason = new Error("cancelled");
    const body = patternBody(60 * MIB, (given) => {
      if (given > 20 * MIB && !controller.signal.aborted) {
        proxy.latency(20);
        controller.abort(reason);
      }
    });
    await expect(store.put("large", body, { signal: controller.signal })).rejects.toBe(reason);
    expect(await direct.head("large")).toBeNull();
    await expect.poll(uploads).toBe(0);
  });

  it("says store_denied of wrong keys, and repeats none of them", async () => {
    const secretAccessKey = "wrong-secret-wrong-secret-wrong-secret";
    for (const keys of [{ secretAccessKey }, { accessKeyId: "WRONGKEYID", secretAccessKey }]) {
      const { store } = await behindProxy(keys);
      const failure: unknown = await store.put("object", text("1")).catch((error: unknown) => error);
      expect(failure).toMatchObject({ code: "store_denied", retryable: false, hint: expect.any(String) });
      const said = JSON.stringify(failure, Object.getOwnPropertyNames(failure)) + String(failure);
      expect(said).not.toContain(secretAccessKey);
      expect(said).not.toContain("WRONGKEYID");
      await expect(store.probe()).rejects.toMatchObject({ code: "store_denied" });
    }
  });

  it("names a bucket that is not there, and does not try again", async () => {
    const { store } = await behindProxy({ bucket: "no-such-bucket-anywhere" });
    const failure = { code: "store_error", retryable: false, hint: expect.stringContaining("bucket") };
    await expect(store.put("object", text("1"))).rejects.toMatchObject(failure);
    await expect(store.probe()).rejects.toMatchObject(failure);
    await expect(store.get("object")).rejects.toMatchObject(failure);
  });

  it("closes its sockets", async () => {
    const { store, proxy } = await behindProxy();
    await Promise.all(["a", "b", "c"].map((key) => store.put(key, text(key))));
    expect(proxy.connections).toBeGreaterThan(0);
    await store.close();
    await expect.poll(() => proxy.connections).toBe(0);
  });

  it("collects uploads that a dead process began, and only old ones", async () => {
    const { client, bucket, prefix, uploads } = await behindProxy();
    for (const name of ["x", "y"])
      await client.send(new CreateMultipartUploadCommand({ Bucket: bucket, Key: `${prefix}${name}` }));
    const calls = new S3Calls(client, bucket);
    const collect = (before: Date) => collectStaleUploads(calls, { prefix, before, signal: undefined });

    await collect(new Date(Date.now() - 60_000));
    expect(await uploads()).toBe(2);
    await collect(new Date(Date.now() + 60_000));
    expect(await uploads()).toBe(0);
  });
});
