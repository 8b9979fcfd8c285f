import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { readInBursts } from "./burst-reads.ts";
import { openReadSocket } from "./read-socket.ts";

interface Ends {
  readonly server: Socket;
  readonly client: Socket;
}

async function connected(): Promise<Ends> {
  const listener = createServer({ noDelay: true }).listen(0, "127.0.0.1");
  await once(listener, "listening");
  const address = listener.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const accepted = once(listener, "connection");
  const client = openReadSocket().connect(address.port, "127.0.0.1");
  await once(client, "connect");
  const [server]: Socket[] = await accepted;
  if (server === undefined) throw new Error("nobody came");
  onTestFinished(() => {
    client.destroy();
    server.destroy();
    listener.close();
  });
  return { server, client };
}

test("what a server sends bit by bit is read in few bursts, whole and in order", async () => {
  const { server, client } = await connected();
  let text = "";
  let turns = 0;
  const reads = readInBursts(client, (bytes) => {
    text += bytes.toString();
    turns += 1;
  });
  onTestFinished(() => reads.stop());
  const sent = Array.from({ length: 400 }, (_, n) => `${n},`);
  for (const one of sent) await new Promise((resolve) => server.write(one, () => setTimeout(resolve, 1)));
  await expect.poll(() => text, { timeout: 5_000 }).toBe(sent.join(""));
  // One by one they would be about as many as were sent.
  expect(turns).toBeLessThan(100);
});

test("much at once is read without a wait, and a held socket gives nothing until it is released", async () => {
  const { server, client } = await connected();
  let length = 0;
  const reads = readInBursts(client, (bytes) => {
    length += bytes.length;
  });
  onTestFinished(() => reads.stop());
  server.write("x");
  await expect.poll(() => length).toBe(1);
  // While more is waited for.
  reads.hold();
  const mib = 50;
  server.write(Buffer.alloc(mib * 1_048_576));
  // Longer than anything gathers.
  await new Promise((resolve) => setTimeout(resolve, 300));
  expect(length).toBe(1);
  reads.release();
  await expect.poll(() => length, { timeout: 10_000 }).toBe(1 + mib * 1_048_576);
});

test("bytes are handed on to those who listened before", async () => {
  const { server, client } = await connected();
  const heard: string[] = [];
  client.on("data", (bytes: Buffer) => heard.push(bytes.toString()));
  const reads = readInBursts(client, (bytes) => {
    if (bytes.toString().startsWith("yours")) reads.handOn(bytes);
  });
  onTestFinished(() => reads.stop());
  server.write("yours: one");
  await expect.poll(() => heard).toEqual(["yours: one"]);
  server.write("mine");
  server.end();
  await once(client, "end");
  expect(heard).toEqual(["yours: one"]);
});
