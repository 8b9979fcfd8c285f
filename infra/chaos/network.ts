import { startTcpProxy, type TcpProxy } from "@rowback/local-services";
import type { ProcessName, ServiceName } from "./plan.ts";

/** A proxy between each process and each service it speaks to, so that one pair can be cut and the others not. */
export class Network {
  readonly #proxies = new Map<string, TcpProxy>();
  readonly #ports: Readonly<Partial<Record<ServiceName, number>>>;

  /** @param ports where each service listens, on 127.0.0.1 */
  constructor(ports: Readonly<Partial<Record<ServiceName, number>>>) {
    this.#ports = ports;
  }

  /** `url` of the service, as this process reaches it. */
  async route(process: ProcessName, service: ServiceName, url: string): Promise<string> {
    const port = this.#ports[service];
    if (port === undefined) throw new Error(`nobody listens for ${service}`);
    const proxy = await startTcpProxy({ port });
    this.#proxies.set(pair(process, service), proxy);
    return proxy.through(url);
  }

  between(process: ProcessName, service: ServiceName): TcpProxy | undefined {
    return this.#proxies.get(pair(process, service));
  }

  restoreAll(): void {
    for (const proxy of this.#proxies.values()) proxy.restore();
  }

  async close(): Promise<void> {
    await Promise.all([...this.#proxies.values()].map((proxy) => proxy.close()));
  }
}

function pair(process: ProcessName, service: ServiceName): string {
  return `${process} to ${service}`;
}
