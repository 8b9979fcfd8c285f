import { planBackup } from "../../../backup/plan.ts";
import { readCatalog } from "../../../postgres/catalog.ts";
import { planScopes } from "../../../postgres/discovery.ts";
import { lsnDigits } from "../../../postgres/lsn.ts";
import type { SourceClient } from "../../../postgres/source.ts";
import { tableLabel } from "../../../postgres/tenancy.ts";
import { copyOut } from "../../../restore/copy.ts";
import type { World } from "../../../restore/testing/world.ts";
import type { Relation, Transaction } from "../../log/segment-index.ts";
import { SegmentWriter } from "../../log/segment-writer.ts";
import type { SegmentPlace } from "../moment-log.ts";

interface TenantTable {
  readonly tenant: string;
  readonly relation: Relation;
  readonly select: string;
}

/**
 * Writes a change log without decoding any WAL: it looks at all rows of all tenants before and after each transaction, and writes what is gone as
 * deleted and what is new as inserted, as of tables with replica identity FULL.
 */
export class DiffCapture {
  readonly places: SegmentPlace[] = [];
  readonly #world: World;
  readonly #tenants: readonly string[];
  #before: ReadonlyMap<string, readonly string[]> = new Map();
  readonly #relations = new Map<string, Relation>();

  private constructor(world: World, tenants: readonly string[]) {
    this.#world = world;
    this.#tenants = tenants;
  }

  static async start(world: World, tenants: readonly string[]): Promise<DiffCapture> {
    const capture = new DiffCapture(world, tenants);
    capture.#before = await capture.#look((rows) => rows);
    return capture;
  }

  /** Runs these statements in one transaction and captures it. */
  async transaction(...statements: readonly string[]): Promise<Transaction> {
    const client = await this.#world.db.pool.connect();
    try {
      await client.query("BEGIN");
      for (const statement of statements) await client.query(statement);
      const { rows } = await client.query<{ xid: string }>("SELECT pg_current_xact_id()::text AS xid");
      await client.query("COMMIT");
      return await this.committed(rows[0]?.xid ?? "");
    } finally {
      client.release();
    }
  }

  /** Changes the schema, which writes no row of the log. */
  async alter(...statements: readonly string[]): Promise<void> {
    await this.#world.sql(...statements);
    this.#before = await this.#look((rows) => rows);
  }

  /** A tenant's rows as COPY text, by table, sorted. */
  async rows(tenant: string): Promise<Record<string, string[]>> {
    const found: Record<string, string[]> = {};
    await this.#look((rows, one) => {
      if (one.tenant === tenant) found[tableLabel(one.relation.table)] = rows.toSorted();
      return rows;
    });
    return found;
  }

  /** Captures a transaction that somebody else has just committed, and nothing since the last one. */
  async committed(xid: string): Promise<Transaction> {
    // Nobody else writes, so the clock after the commit is as good as its own time.
    const { rows } = await this.#world.db.pool.query<{ lsn: string; at: string }>(
      `SELECT pg_current_wal_insert_lsn()::text AS lsn, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text AS at`,
    );
    const transaction = { lsn: lsnDigits(rows[0]?.lsn ?? ""), xid, at: rows[0]?.at ?? "" };
    await this.#write(transaction);
    return transaction;
  }

  async #write(transaction: Transaction): Promise<void> {
    const writer = new SegmentWriter({ sourceId: this.#world.ctx.source.id, epoch: 1, piece: 0, continued: false });
    let seq = 0;
    const after = await this.#look((rows, { tenant, relation }, key) => {
      const before = this.#before.get(key) ?? [];
      for (const [op, lines] of [
        ["D", less(before, rows)],
        ["I", less(rows, before)],
      ] as const) {
        for (const line of lines) {
          writer.add({ tenant, relation, transaction, op, seq, row: Buffer.from(line, "latin1") });
          seq += 1;
        }
      }
      return rows;
    });
    this.#before = after;
    if (!writer.isEmpty) this.places.push(await writer.put(this.#world.store, { continues: false }));
  }

  #look(
    see: (rows: readonly string[], of: TenantTable, key: string) => readonly string[],
  ): Promise<Map<string, readonly string[]>> {
    return this.#world.ctx.source.connect(async (client) => {
      const found = new Map<string, readonly string[]>();
      for (const one of await this.#tables(client)) {
        const key = JSON.stringify([one.tenant, tableLabel(one.relation.table)]);
        found.set(key, see(await rowsOf(client, one.select), one, key));
      }
      return found;
    });
  }

  async #tables(client: SourceClient): Promise<TenantTable[]> {
    const { source } = this.#world.ctx;
    const catalog = await readCatalog(client);
    return this.#tenants.flatMap((tenant) => {
      const plan = planBackup(catalog, planScopes(catalog, source.tenancy, source.rules), {
        tenancy: source.tenancy,
        tenantKey: tenant,
        tables: null,
      });
      return plan.tables.map(({ source: { table }, scope, columns, copy }) => {
        const relation: Relation = {
          table,
          scope,
          identity: "full",
          columns: columns.map(({ name, type, attnum }) => ({ name, type, attnum, key: true, missing: null })),
        };
        const definition = JSON.stringify(relation);
        const known = this.#relations.get(definition) ?? relation;
        this.#relations.set(definition, known);
        return { tenant, relation: known, select: copy.replace(/^COPY \((.*)\) TO STDOUT$/s, "$1") };
      });
    });
  }
}

async function rowsOf(client: SourceClient, select: string): Promise<string[]> {
  const pieces: Buffer[] = [];
  for await (const piece of copyOut(client, select)) pieces.push(Buffer.from(piece));
  return Buffer.concat(pieces).toString("latin1").split("\n").slice(0, -1);
}

function less(rows: readonly string[], others: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const other of others) counts.set(other, (counts.get(other) ?? 0) + 1);
  return rows.filter((row) => {
    const count = counts.get(row) ?? 0;
    counts.set(row, count - 1);
    return count <= 0;
  });
}
