import { setTimeout as delay } from "node:timers/promises";
import pRetry from "p-retry";
import { z } from "zod";
import { Problem, Run } from "./client.ts";
import type { ChaosTenant } from "./people.ts";
import { type Random, randomOf } from "./random.ts";
import { changeTenantRows, digestOf, type TenantDigest } from "./tenant-data.ts";

/** A backup that was seen to succeed. */
export interface KnownBackup {
  readonly id: string;
  /** Of the tenant's rows when it was made; null where they were written to meanwhile. */
  readonly digest: string | null;
}

/** What the load saw. */
export interface LoadReport {
  /** Actions that came to their end, by what came of them. */
  readonly outcomes: Map<string, number>;
  /** Rows that are not what a restore promised. */
  readonly corrupt: string[];
  /** Rows that changed although no run says so. */
  readonly effects: string[];
  readonly known: Map<string, KnownBackup[]>;
}

// A 409 is a fair answer to a client that does several things at once, and a backup may be gone by the time somebody asks.
const FAIR = new Set(["conflict", "not_found", "plan_stale", "restore_in_progress"]);
/** More backups than this of a tenant: the oldest is deleted. */
const MOST_BACKUPS = 6;
const PlanDigest = z.looseObject({ digest: z.string() });

export interface LoadOptions {
  readonly sourceUrl: string;
  readonly seed: number;
  /** Aborted when a run that has not ended by then never will. */
  readonly patience: AbortSignal;
}

/** Puts a steady mixed load on the API until `stop`; resolves when everything that was begun has ended, or patience has. */
export async function runLoad(
  options: LoadOptions,
  tenants: readonly ChaosTenant[],
  stop: AbortSignal,
): Promise<LoadReport> {
  const report: LoadReport = { outcomes: new Map(), corrupt: [], effects: [], known: new Map() };
  const agents = tenants.flatMap((tenant, index) => {
    const known: KnownBackup[] = [];
    report.known.set(tenant.key, known);
    const agentOf = (salt: number): Agent =>
      new Agent(options, tenant, known, randomOf(options.seed * 1_000 + index * 10 + salt), report);
    const bystander = agentOf(2);
    return tenant.busy
      ? [agentOf(1).write(stop), bystander.repeat(bystander.reading(), stop)]
      : [repeatOwner(agentOf(1), stop), bystander.repeat(bystander.reading(), stop)];
  });
  await Promise.all(agents);
  return report;
}

function repeatOwner(agent: Agent, stop: AbortSignal): Promise<void> {
  return agent.repeat(agent.owning(), stop);
}

type Action = () => Promise<string>;

/** One person at a keyboard: one thing after the other. */
class Agent {
  readonly #sourceUrl: string;
  readonly #tenant: ChaosTenant;
  readonly #known: KnownBackup[];
  readonly #random: Random;
  readonly #report: LoadReport;
  readonly #patience: AbortSignal;

  constructor(
    { sourceUrl, patience }: LoadOptions,
    tenant: ChaosTenant,
    known: KnownBackup[],
    random: Random,
    report: LoadReport,
  ) {
    this.#sourceUrl = sourceUrl;
    this.#patience = patience;
    this.#tenant = tenant;
    this.#known = known;
    this.#random = random;
    this.#report = report;
  }

  /** What the one does who alone writes the tenant's rows, and so knows what they are. */
  owning(): Action[] {
    return [
      () => this.#change(),
      () => this.#backUp(true),
      () => this.#backUp(true),
      () => this.#restore(),
      () => this.#restore(),
      () => this.#restore(),
    ];
  }

  /** What others do meanwhile. */
  reading(): Action[] {
    return [
      () => this.#backUp(false),
      () => this.#cancelBackup(),
      () => this.#preview(),
      () => this.#verify(),
      () => this.#verify(),
      () => this.#delete(),
    ];
  }

  async repeat(actions: readonly Action[], stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await this.#noted(this.#random.pick(actions));
      await delay(this.#random.whole(50, 600));
    }
  }

  /** An application that never stops writing. */
  async write(stop: AbortSignal): Promise<void> {
    while (!stop.aborted) {
      await changeTenantRows(this.#sourceUrl, this.#tenant.key, this.#random).catch(() => {});
      await delay(this.#random.whole(5, 60));
    }
  }

  async #noted(action: Action): Promise<void> {
    let outcome: string;
    try {
      outcome = await action();
    } catch (error) {
      if (!(error instanceof Problem)) outcome = `no answer: ${error instanceof Error ? error.message : String(error)}`;
      else outcome = FAIR.has(error.code) ? `refused ${error.code}` : `ODD ${error.message}`;
    }
    this.#report.outcomes.set(outcome, (this.#report.outcomes.get(outcome) ?? 0) + 1);
  }

  async #change(): Promise<string> {
    const { key } = this.#tenant;
    // A commit whose answer was lost has happened: what counts is read anew before every comparison.
    await changeTenantRows(this.#sourceUrl, key, this.#random).catch(() => {});
    return "change";
  }

  async #backUp(alone: boolean): Promise<string> {
    const { client, busy } = this.#tenant;
    const before = alone ? await this.#digest() : null;
    const run = await this.#ended(await client.ask("/v1/backups", {}, this.#random.oneIn(4)));
    if (run.status !== "succeeded") return outcomeOf(run);
    if (before !== null) await this.#expectUnchanged(before, run, "a backup");
    this.#known.push({ id: run.id, digest: busy ? null : (before?.digest ?? null) });
    return outcomeOf(run);
  }

  async #cancelBackup(): Promise<string> {
    const { client } = this.#tenant;
    const run = await client.ask("/v1/backups", {});
    await delay(this.#random.whole(0, 1_500));
    await client.call("POST", `/v1/backups/${run.id}/cancel`, z.unknown());
    const ended = await this.#ended(run);
    if (ended.status === "succeeded") this.#known.push({ id: run.id, digest: null });
    return `cancel, ${outcomeOf(ended)}`;
  }

  async #preview(): Promise<string> {
    const backup = this.#chooseBackup();
    if (backup === null) return "nothing to preview";
    const { client } = this.#tenant;
    return outcomeOf(await this.#ended(await client.ask("/v1/restores/preview", { backupId: backup.id })));
  }

  async #verify(): Promise<string> {
    const backup = this.#chooseBackup();
    if (backup === null) return "nothing to verify";
    const { client } = this.#tenant;
    const run = await this.#ended(await client.ask(`/v1/backups/${backup.id}/verify`, undefined));
    this.#noteDamage(run, backup.id);
    return outcomeOf(run);
  }

  async #delete(): Promise<string> {
    const backup = this.#known.length > MOST_BACKUPS ? this.#known.shift() : undefined;
    if (backup === undefined) return "nothing to delete";
    await this.#tenant.client.call("DELETE", `/v1/backups/${backup.id}`, z.unknown());
    return "delete";
  }

  /** Preview, restore, perhaps cancel, perhaps undo; after each the rows must be what the run's end says. */
  async #restore(): Promise<string> {
    const backup = this.#chooseBackup();
    if (backup === null) return "nothing to restore";
    const { client } = this.#tenant;
    const preview = await this.#ended(await client.ask("/v1/restores/preview", { backupId: backup.id }));
    if (preview.status !== "succeeded") return `restore: ${outcomeOf(preview)}`;
    const body = { previewId: preview.id, planDigest: PlanDigest.parse(preview.result).digest };
    const before = await this.#digest();
    const restore = await this.#applied("/v1/restores", body, before, backup.digest);
    if (restore.status !== "succeeded" || this.#random.oneIn(2)) return outcomeOf(restore);
    const restored = await this.#digest();
    const undo = await this.#applied(`/v1/restores/${restore.id}/undo`, {}, restored, before.digest);
    return `undo: ${outcomeOf(undo)}`;
  }

  async #applied(path: string, body: unknown, before: TenantDigest, wanted: string | null): Promise<Run> {
    const { client, key } = this.#tenant;
    const asked = await client.ask(path, body, this.#random.oneIn(4));
    if (this.#random.oneIn(5)) {
      await delay(this.#random.whole(0, 1_000));
      await client.call("POST", `/v1/restores/${asked.id}/cancel`, Run).catch((error: unknown) => {
        if (!(error instanceof Problem)) throw error;
      });
    }
    const run = await this.#ended(asked);
    this.#noteDamage(run, `of ${path}`);
    if (run.status !== "succeeded") await this.#expectUnchanged(before, run, path);
    const after = await this.#digest();
    if (run.status === "succeeded" && wanted !== null && after.digest !== wanted)
      this.#report.corrupt.push(`${key}: ${path} (run ${run.id}) succeeded, but the rows are not those of its backup`);
    return run;
  }

  async #expectUnchanged(before: TenantDigest, run: Run, what: string): Promise<void> {
    const after = await this.#digest();
    if (after.digest === before.digest) return;
    this.#report.effects.push(
      `${this.#tenant.key}: rows changed during ${what} (run ${run.id}, ${run.status} ${run.error?.code ?? ""})`,
    );
  }

  #noteDamage(run: Run, what: string): void {
    if (run.error?.code === "archive_damaged" || run.error?.code.startsWith("manifest_"))
      this.#report.corrupt.push(`${this.#tenant.key}: run ${run.id} found ${what} damaged: ${run.error.message}`);
  }

  #ended(run: Run): Promise<Run> {
    return this.#tenant.client.untilEnded(run, this.#patience);
  }

  #chooseBackup(): KnownBackup | null {
    return this.#known.length === 0 ? null : this.#random.pick(this.#known);
  }

  #digest(): Promise<TenantDigest> {
    return pRetry(() => digestOf(this.#sourceUrl, this.#tenant.key), {
      retries: 40,
      minTimeout: 100,
      maxTimeout: 1_000,
    });
  }
}

function outcomeOf(run: Run): string {
  return run.status === "failed" ? `${run.kind} failed ${run.error?.code}` : `${run.kind} ${run.status}`;
}
