import { randomUUID } from "node:crypto";
import type { TestDatabase } from "@rowback/local-services/testing";
import type { ObjectStore } from "@rowback/storage";
import { MemoryStore } from "../../../archive/testing/memory-store.ts";
import { CatalogCache } from "../../../postgres/catalog.ts";
import { openSource, type Source } from "../../../postgres/source.ts";
import type { ScopeRule, Tenancy } from "../../../postgres/tenancy.ts";
import { type ChangeOp, parseLines } from "../../log/change-lines.ts";
import type { Relation } from "../../log/segment-index.ts";
import { openSegment, readBlocks } from "../../log/segment-reader.ts";
import type { WrittenSegment } from "../../log/segment-writer.ts";
import { captureChanges } from "../capture.ts";
import type { CaptureTarget, Covered, SeenTables } from "../capture-target.ts";
import { ddlTriggerStatement } from "../ddl-trigger.ts";
import type { Gap } from "../gap.ts";
import type { SegmentLimits } from "../segment-gatherer.ts";
import { setUpCapture } from "../setup.ts";
import { createSlot, dropSlot, type SlotStart } from "../slot.ts";

/** A line of the log with where it stood. */
export interface LoggedLine {
  readonly tenant: string | null;
  readonly table: string;
  readonly op: ChangeOp;
  readonly lsn: string;
  readonly xid: string;
  readonly at: string;
  readonly seq: number;
  readonly row: string;
  readonly movedTo: string | null;
  readonly relation: Relation;
}

export interface WorldOptions {
  /** SQL that makes the tables. */
  readonly schema: string;
  /** As in CREATE PUBLICATION … FOR TABLE. */
  readonly tables: string;
  readonly tenancy?: Tenancy;
  readonly rules?: readonly ScopeRule[];
  readonly store?: ObjectStore;
  readonly limits?: SegmentLimits;
  /** As whom Rowback comes, if not as the superuser: then the source is set up as it would be by a user. */
  readonly url?: string;
  /** Event triggers tell of changed columns. */
  readonly ddlTrigger?: boolean;
  /** Stands between the capture and its source. */
  readonly around?: (source: Source) => Source;
}

const SOON: SegmentLimits = { bytes: 16 * 1_048_576, ms: 20 };

/** A database with a slot, and a log whose keeper is this object instead of a control database. */
export class CapturedWorld {
  readonly sourceId = randomUUID();
  readonly slotName = `rowback_${this.sourceId.replaceAll("-", "")}`;
  readonly publicationName: string;
  readonly source: Source;
  readonly store: ObjectStore;
  readonly segments: WrittenSegment[] = [];
  readonly gaps: Gap[] = [];
  readonly problems: unknown[] = [];
  covered: Covered = { lsn: "", at: 0n };
  startXid = 0n;
  readonly #database: TestDatabase;
  readonly #options: WorldOptions;
  #seen: SeenTables | null = null;
  #running: { readonly abort: AbortController; readonly ended: Promise<unknown> } | null = null;

  static async make(database: TestDatabase, options: WorldOptions): Promise<CapturedWorld> {
    const world = new CapturedWorld(database, options);
    await database.pool.query(options.schema);
    const start = await world.#setUp(options);
    world.#seen = start.seen;
    world.startXid = start.startXid;
    world.covered = { lsn: start.startLsn, at: start.startedAt };
    return world;
  }

  private constructor(database: TestDatabase, options: WorldOptions) {
    this.#database = database;
    this.#options = options;
    this.store = options.store ?? new MemoryStore();
    const source = openSource({
      id: this.sourceId,
      connectionString: options.url ?? database.url,
      tenancy: options.tenancy ?? { mode: "column", column: "tenant_id" },
      rules: options.rules ?? [],
      maxConnections: 3,
      applicationName: "rowback-test",
    });
    this.source = options.around?.(source) ?? source;
    // Setting up gives it the slot's name.
    this.publicationName = options.url === undefined ? "rowback" : this.slotName;
  }

  async #setUp({ url, tables, ddlTrigger }: WorldOptions): Promise<SlotStart> {
    const { signal } = new AbortController();
    const { source, publicationName } = this;
    if (ddlTrigger) await this.sql(ddlTriggerStatement(publicationName));
    if (url === undefined) {
      await this.sql(
        `CREATE PUBLICATION ${publicationName} FOR TABLE ${tables} WITH (publish_via_partition_root = true)`,
      );
      return await createSlot(source, { slotName: this.slotName, publicationName }, signal);
    }
    const { start } = await setUpCapture({ source, catalogCache: new CatalogCache(), signal }, { captured: false });
    if (start === null) throw new Error("there was a slot before");
    return start;
  }

  start(target: Partial<CaptureTarget> = {}): void {
    const abort = new AbortController();
    const ended = captureChanges(
      {
        store: this.store,
        source: this.source,
        catalogCache: new CatalogCache(),
        log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
        signal: abort.signal,
      },
      {
        epoch: 1,
        slotName: this.slotName,
        publicationName: this.publicationName,
        covered: this.covered,
        limits: this.#options.limits ?? SOON,
        target: { ...this.#target(), ...target },
      },
    ).catch((error: unknown) => {
      if (!abort.signal.aborted) this.problems.push(error);
    });
    this.#running = { abort, ended };
  }

  /** What the next capture would begin with. */
  get seen(): SeenTables | null {
    return this.#seen;
  }

  async stop(): Promise<void> {
    this.#running?.abort.abort();
    await this.#running?.ended;
    this.#running = null;
  }

  async sql(text: string): Promise<void> {
    await this.query(text);
  }

  async query(text: string): Promise<{ readonly rows: readonly unknown[] }> {
    return await this.#database.pool.query(text);
  }

  /** Waits until everything committed by now is in the log. */
  async caughtUp(): Promise<void> {
    const { rows } = await this.#database.pool.query("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS lsn");
    // What was written and not flushed, by a vacuum for one, is decoded when somebody commits, which may be never.
    await this.#database.pool.query("SELECT pg_current_xact_id()");
    const lsn = BigInt(String(Reflect.get(Object(rows[0]), "lsn")))
      .toString(16)
      .padStart(16, "0");
    const deadline = Date.now() + 30_000;
    while (this.covered.lsn < lsn) {
      if (this.problems.length > 0) throw this.problems[0];
      if (Date.now() > deadline) throw new Error(`the log is still at ${this.covered.lsn}, not at ${lsn}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** All lines, in the order of everything. */
  async lines(): Promise<LoggedLine[]> {
    const lines: LoggedLine[] = [];
    for (const { key, bytes } of this.segments) {
      const segment = await openSegment(this.store, key, bytes);
      for await (const { block, text } of readBlocks(this.store, segment, segment.index.blocks)) {
        const relation = segment.index.relations[block.relation];
        if (relation === undefined) throw new Error("a block names a relation that its segment does not list");
        for (const { transaction, op, seq, row, tenant } of parseLines(text)) {
          const place = { tenant: block.tenant, table: relation.table.name, relation, ...transaction };
          lines.push({ ...place, op, seq, row: row.toString(), movedTo: tenant });
        }
      }
    }
    const order = ({ lsn, seq, op }: LoggedLine): string => `${lsn}${String(seq).padStart(12, "0")}${op}`;
    return lines.toSorted((a, b) => (order(a) < order(b) ? -1 : 1));
  }

  /** `tenant table op row` of every line; `*` stands for the shared part. */
  async story(): Promise<string[]> {
    return (await this.lines()).map(({ tenant, table, op, row, movedTo }) =>
      [tenant ?? "*", table, op, ...(movedTo === null ? [] : [`→${movedTo}`]), row.replaceAll("\t", "|")]
        .join(" ")
        .trim(),
    );
  }

  async end(): Promise<void> {
    await this.stop();
    await dropSlot(this.source, this.slotName, new AbortController().signal);
    await this.source.close();
  }

  #target(): CaptureTarget {
    return {
      publish: async (segments, covered, told) => {
        this.segments.push(...segments);
        this.covered = covered;
        const tables = new Map([...(this.#seen?.tables ?? []), ...told].map((table) => [table.oid, table]));
        if (this.#seen !== null) this.#seen = { ...this.#seen, tables: [...tables.values()] };
      },
      declare: async (gaps) => {
        this.gaps.push(...gaps);
      },
      rememberedTables: async () => this.#seen,
      rememberTables: async (seen) => {
        this.#seen = seen;
      },
    };
  }
}
