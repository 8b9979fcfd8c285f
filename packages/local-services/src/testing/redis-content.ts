import { Redis } from "ioredis";

/** Every key of a test's Redis, with all that is in it, as one text. */
export async function redisContent({ url, prefix }: { url: string; prefix: string }): Promise<string> {
  const client = new Redis(url);
  try {
    const texts: string[] = [];
    for (const key of await client.keys(`${prefix}*`)) texts.push(key, JSON.stringify(await contentOf(client, key)));
    return texts.join("\n");
  } finally {
    client.disconnect();
  }
}

async function contentOf(client: Redis, key: string): Promise<unknown> {
  const type = await client.type(key);
  switch (type) {
    case "string":
      return client.get(key);
    case "hash":
      return client.hgetall(key);
    case "list":
      return client.lrange(key, 0, -1);
    case "set":
      return client.smembers(key);
    case "zset":
      return client.zrange(key, "0", "-1");
    case "stream":
      return client.xrange(key, "-", "+");
    case "none":
      return null;
    default:
      throw new Error(`a key of type ${type}: say here how to read it`);
  }
}
