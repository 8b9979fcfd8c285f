import type { Catalog } from "./catalog-types.ts";
import type { DiscoveredTable } from "./discovery.ts";
import type { Finding } from "./finding.ts";

/** What would make a backup or a restore of these tables fail or surprise, worst first. Pure. */
export function preflight(_catalog: Catalog, _discovered: readonly DiscoveredTable[]): Finding[] {
  throw new Error("not built yet");
}
