import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pgbenchProgram } from "@rowback/local-services";
import { run } from "./measure.ts";
import { psqlTarget } from "./psql.ts";

/** pgbench's own transaction ("tpcb-like"), on tables with a tenant's column. */
const SCRIPT = `\\set account random(1, 100000)
\\set teller random(1, 1000)
\\set branch random(1, 100)
\\set delta random(-5000, 5000)
BEGIN;
UPDATE accounts SET balance = balance + :delta WHERE id = :account;
SELECT balance FROM accounts WHERE id = :account;
UPDATE tellers SET balance = balance + :delta WHERE id = :teller;
UPDATE branches SET balance = balance + :delta WHERE id = :branch;
INSERT INTO history (tenant_id, account_id, delta) VALUES (1 + :account % 100, :account, :delta);
END;
`;

export interface PgbenchOptions {
  readonly url: string;
  /** Where its script may stand. */
  readonly folder: string;
  readonly clients: number;
  readonly seconds: number;
  /** `taskset`'s list of the cores that it runs on. */
  readonly cores: string;
  /** Transactions a second, at random moments; null: as many as go. */
  readonly rate: number | null;
}

export interface PgbenchResult {
  readonly tps: number;
  /** Mean, in milliseconds; with a rate from the moment a transaction was due. */
  readonly latencyMs: number;
}

/** Runs pgbench with its defaults: the simple protocol, one thread. */
export async function pgbench(options: PgbenchOptions): Promise<PgbenchResult> {
  const script = join(options.folder, "tpcb-tenants.sql");
  await writeFile(script, SCRIPT);
  const { program, env } = await pgbenchProgram();
  const { target, env: password } = psqlTarget(options.url);
  const rate = options.rate === null ? [] : ["-R", String(options.rate)];
  const load = ["-n", "-f", script, "-c", String(options.clients), "-T", String(options.seconds), ...rate];
  const said = await run("taskset", ["-c", options.cores, program, ...load, target], {
    env: { ...env, ...password },
  });
  return { tps: figure(said, /^tps = ([\d.]+)/m), latencyMs: figure(said, /^latency average = ([\d.]+) ms/m) };
}

function figure(said: string, pattern: RegExp): number {
  const found = pattern.exec(said)?.[1];
  if (found === undefined) throw new Error(`pgbench said: ${said}`);
  return Number(found);
}
