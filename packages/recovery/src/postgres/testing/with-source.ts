import { openSource, type Source, type SourceClient, type SourceOptions } from "../source.ts";

/** Opens a source on a test's database, lends it, and closes it whatever happens. */
export async function withSource<T>(
  url: string,
  fn: (source: Source) => Promise<T>,
  options: Partial<SourceOptions> = {},
): Promise<T> {
  const source = openSource({
    id: "11111111-1111-4111-8111-111111111111",
    connectionString: url,
    tenancy: { mode: "column", column: "tenant_id" },
    rules: [],
    maxConnections: 4,
    ...options,
  });
  try {
    return await fn(source);
  } finally {
    await source.close();
  }
}

/** One connection with a source's session settings. */
export function withSourceClient<T>(url: string, fn: (client: SourceClient) => Promise<T>): Promise<T> {
  return withSource(url, (source) => source.connect(fn));
}
