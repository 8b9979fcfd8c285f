import { quoteLiteral } from "./identifiers.ts";

/**
 * What fixes the text that COPY writes and reads: the same row gives the same bytes from every session, on every server.
 * A manifest records these; a restore by hand sets them.
 */
export const COPY_TEXT_SETTINGS: Readonly<Record<string, string>> = {
  client_encoding: "UTF8",
  DateStyle: "ISO, YMD",
  IntervalStyle: "postgres",
  TimeZone: "UTC",
  // Shortest text that reads back as the same float, also on servers before 12.
  extra_float_digits: "3",
  bytea_output: "hex",
  xmlbinary: "base64",
  // Fragments are valid xml values too; `document` would refuse them at restore.
  xmloption: "content",
  // money prints with the session's currency and grouping; C is on every machine.
  lc_monetary: "C",
  // `{NULL}` read with array_nulls=off is the string "NULL".
  array_nulls: "on",
  standard_conforming_strings: "on",
};

/** Applied to every session on a source before anything else runs in it. */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  ...COPY_TEXT_SETTINGS,
  // A policy that would hide rows raises (SQLSTATE 42501) instead of giving a silently partial backup.
  row_security: "off",
  // Names in our SQL are qualified; with a search_path a user's `public.=` or `public.lower` could answer instead.
  search_path: "",
  transform_null_equals: "off",
  quote_all_identifiers: "off",
  // A backup of hours is not a runaway statement; runs have their own cancellation.
  statement_timeout: "0",
  lock_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  idle_session_timeout: "0",
  transaction_timeout: "0",
  // A worker that was killed can't cancel: the server itself looks whether its client is still there.
  client_connection_check_interval: "5s",
  // And where the network went silent: without these, a session in a transaction stays for two hours and more.
  tcp_keepalives_idle: "30",
  tcp_keepalives_interval: "10",
  tcp_keepalives_count: "3",
  tcp_user_timeout: "60000",
  // Compiling costs more than it saves on scans that only feed COPY.
  jit: "off",
};

/**
 * One SELECT that applies SESSION_SETTINGS; settings that this server does not know (older versions) are skipped.
 * `transaction` confines them to the transaction: behind a pooler that swaps server sessions only this holds.
 */
export function applySessionSettings(scope: "session" | "transaction"): string {
  const values = Object.entries(SESSION_SETTINGS).map(
    ([name, value]) => `(${quoteLiteral(name)}, ${quoteLiteral(value)})`,
  );
  return `SELECT count(pg_catalog.set_config(s.name, s.value, ${scope === "transaction"}))
    FROM (VALUES ${values.join(", ")}) AS s(name, value)
    WHERE pg_catalog.current_setting(s.name, true) IS NOT NULL
      AND (s.name OPERATOR(pg_catalog.<>) 'client_connection_check_interval'
        OR pg_catalog.version() OPERATOR(pg_catalog.!~) 'mingw|Visual C')`;
}
