import { createServer } from "node:net";
import { ServiceStartError } from "./service-process.ts";

/** A TCP port of 127.0.0.1 that was free a moment ago. Whoever binds it must be ready to lose the race and ask again. */
export async function freePort(): Promise<number> {
  const server = createServer();
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.once("error", reject);
  server.listen({ host: "127.0.0.1", port: 0 }, () => {
    const address = server.address();
    server.close(() => {
      if (address !== null && typeof address === "object") resolve(address.port);
      else reject(new Error("the operating system named no port"));
    });
  });
  return promise;
}

/** Between choosing a free port and binding it, somebody else may take it: then `start` is called again with another one. */
export async function onFreePort<T>(start: (port: number) => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await start(await freePort());
    } catch (error) {
      const taken = error instanceof ServiceStartError && /address already in use/i.test(error.log);
      if (!taken || attempt === 5) throw error;
    }
  }
}
