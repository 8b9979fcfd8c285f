/** How psql, pg_dump and the like are told of a server: a password belongs in no argument list. */
export interface PsqlTarget {
  readonly target: string;
  readonly env: Readonly<Record<string, string>>;
}

export function psqlTarget(url: string): PsqlTarget {
  const target = new URL(url);
  const env = { PGPASSWORD: decodeURIComponent(target.password) };
  target.password = "";
  return { target: target.href, env };
}
