import type { ObjectStore } from "@rowback/storage";
import { RecoveryError } from "../../errors.ts";
import type { CatalogCache } from "../../postgres/catalog.ts";
import type { Source } from "../../postgres/source.ts";
import { toRecoveryError } from "../../postgres/source-error.ts";
import { tableLabel } from "../../postgres/tenancy.ts";
import type { Log } from "../../verb-context.ts";
import type { Transaction } from "../log/segment-index.ts";
import type { CaptureTarget, Covered, SeenTables } from "./capture-target.ts";
import { ChangeSorter, type RowMessage, type TenantMove } from "./change-sorter.ts";
import { readDdlMessage } from "./ddl-trigger.ts";
import { type Gap, gapKey } from "./gap.ts";
import { ParentTenants } from "./parent-tenants.ts";
import { parentsWanted } from "./parents-wanted.ts";
import { type RelationMessage, readMessage } from "./pgoutput.ts";
import type { PublishedTable } from "./published-tables.ts";
import { readNextXid } from "./read-published.ts";
import { type Batch, ReplicationStream } from "./replication-stream.ts";
import { SegmentGatherer, type SegmentLimits } from "./segment-gatherer.ts";
import { TableBook } from "./table-book.ts";
import type { Look } from "./table-looks.ts";
import { compareTables } from "./table-watch.ts";
import { removeUnrecorded } from "./unrecorded-segments.ts";
import { lsnText, widenXid } from "./wal-position.ts";

export interface CaptureContext {
  readonly store: ObjectStore;
  readonly source: Source;
  readonly catalogCache: CatalogCache;
  readonly log: Log;
  /** Aborted when the lease is lost or the worker ends. */
  readonly signal: AbortSignal;
}

export interface CaptureRequest {
  readonly epoch: number;
  readonly slotName: string;
  readonly publicationName: string;
  /** How far the log reaches already. */
  readonly covered: Covered;
  readonly target: CaptureTarget;
  readonly limits?: SegmentLimits;
  /** WATCH_TABLES_MS unless told. */
  readonly watchTablesMs?: number;
  /** Told of every transaction once its changes are gathered: microseconds since 1970. */
  readonly onCommit?: (at: bigint) => void;
}

/** What a reader of the log waits for at most, and what a restore of one tenant has to read through at least (docs/CHANGE-LOG.md). */
const LIMITS: SegmentLimits = { bytes: 16 * 1_048_576, ms: 10_000 };
/** How long to wait for messages before looking whether a segment is due. */
const WAIT_MS = 250;
/** How often the control database hears how far an idle log reaches. */
const HEARTBEAT_MS = 2_000;
/** How often to look for what happens to tables without a message. */
const WATCH_TABLES_MS = 10_000;
/**
 * A commit gets its time before its place in the WAL. A server under load may let a process wait in between: a time is covered for
 * certain only when the server's clock is past it by this much.
 */
const CLOCK_MARGIN_MICROS = 1_000_000n;

/**
 * Reads the source's slot and writes its change log until the signal aborts, then lets go of the slot. What was gathered and not yet
 * recorded comes again to whoever captures next.
 * @throws RecoveryError `cancelled` after an abort; `source_*`, `store_*`, `lease_lost`; `source_error` when the slot is lost or in use
 */
export async function captureChanges(ctx: CaptureContext, request: CaptureRequest): Promise<never> {
  const capture = new Capture(ctx, request);
  try {
    return await capture.run();
  } catch (error) {
    throw toRecoveryError(error, { sourceId: ctx.source.id, signal: ctx.signal });
  } finally {
    await capture.close();
  }
}

class Capture {
  readonly #ctx: CaptureContext;
  readonly #request: CaptureRequest;
  readonly #book: TableBook;
  readonly #parents = new ParentTenants();
  readonly #sorter: ChangeSorter;
  readonly #gatherer: SegmentGatherer;
  #stream: ReplicationStream | null = null;
  #open: Transaction | null = null;
  #xid: bigint;
  /** Behind the last transaction that was gathered. */
  #reached: Covered;
  #recorded: Covered;
  #heartbeatAt = 0;
  #watchedAt = 0;
  /** The last look at the tables. */
  #seen: SeenTables | null = null;
  /** The last look that the stream has passed, until it is remembered. */
  #passed: Look | null = null;
  #gaps = new Map<string, Gap>();
  #truncated = new Set<number>();
  /** Tables that event triggers told of, until that is remembered, and how far the stream was then. */
  #told = new Map<number, PublishedTable>();
  #toldLsn = "";

  constructor(ctx: CaptureContext, request: CaptureRequest) {
    this.#ctx = ctx;
    this.#request = request;
    this.#book = new TableBook(ctx.source, request.publicationName, ctx.catalogCache);
    this.#gatherer = new SegmentGatherer({
      sourceId: ctx.source.id,
      epoch: request.epoch,
      store: ctx.store,
      target: request.target,
      signal: ctx.signal,
      limits: request.limits ?? LIMITS,
      onDurable: (covered) => this.#durable(covered),
    });
    this.#sorter = new ChangeSorter(this.#book, this.#parents, {
      add: (change) => this.#gatherer.add(change),
      moved: (move) => this.#moved(move),
    });
    this.#reached = request.covered;
    this.#recorded = request.covered;
    this.#xid = 0n;
  }

  async run(): Promise<never> {
    const { store, source, signal } = this.#ctx;
    await removeUnrecorded(store, { sourceId: source.id, ...this.#request }, signal);
    this.#xid = await source.connect(readNextXid, { signal });
    const { slotName, publicationName, covered, target } = this.#request;
    this.#seen = await target.rememberedTables();
    if (this.#seen !== null) this.#book.begin(this.#seen);
    await this.#watchTables();
    this.#stream = await ReplicationStream.open(source, { slotName, publicationName, startLsn: covered.lsn, signal });
    this.#stream.acknowledge(BigInt(`0x${covered.lsn}`));
    for (;;) {
      const batch = await this.#stream.next(WAIT_MS);
      await this.#take(batch);
      await this.#settleUp(batch);
    }
  }

  async close(): Promise<void> {
    await this.#stream?.close();
    await this.#gatherer.settle().catch(() => {});
  }

  async #take({ messages }: Batch): Promise<void> {
    for (const [index, bytes] of messages.entries()) {
      const message = readMessage(bytes);
      switch (message.kind) {
        case "begin":
          this.#begin({ ...message, xid: widenXid(message.xid, this.#xid) });
          break;
        case "relation":
          await this.#learn(message);
          break;
        case "commit":
          await this.#commit(message.endLsn, message.at);
          break;
        case "message":
          if (message.transactional) this.#hear(message);
          break;
        case "insert":
        case "update":
        case "delete":
        case "truncate":
          if (this.#gatherer.isFull) await this.#gatherer.cut();
          if (!this.#sorter.apply(message)) await this.#applyWithParents(message, messages, index);
          this.#noteChange(message);
          break;
      }
    }
  }

  #begin({ lsn, at, xid }: { readonly lsn: bigint; readonly at: bigint; readonly xid: bigint }): void {
    this.#xid = xid;
    this.#open = { lsn: lsnText(lsn), at: at.toString(), xid: xid.toString() };
    // The server begins where we asked it to. If it ever does not, the log must not have a transaction twice.
    if (this.#open.lsn < this.#request.covered.lsn)
      throw new RecoveryError("internal", `The slot sent ${this.#open.lsn} again, which is in the log`);
    this.#passLooks(this.#open.lsn);
    this.#sorter.begin(this.#open);
  }

  #noteChange(message: RowMessage): void {
    if (this.#open === null) return;
    if (message.kind !== "truncate") {
      this.#book.touch(message.oid, this.#open);
      return;
    }
    for (const oid of message.oids) {
      this.#book.touch(oid, this.#open);
      this.#truncated.add(oid);
    }
  }

  async #commit(endLsn: bigint, at: bigint): Promise<void> {
    this.#open = null;
    this.#reached = { lsn: lsnText(endLsn), at: at - CLOCK_MARGIN_MICROS };
    this.#request.onCommit?.(at);
    if (this.#gatherer.isDue) await this.#closeSegment();
  }

  /** Between batches: what is due is stored; what is idle is told. */
  async #settleUp({ position, messages }: Batch): Promise<void> {
    const watchEveryMs = this.#request.watchTablesMs ?? WATCH_TABLES_MS;
    if (performance.now() - this.#watchedAt >= watchEveryMs) await this.#watchTables();
    if (this.#open !== null) return;
    if (position !== null && lsnText(position.lsn) >= this.#reached.lsn)
      this.#reached = { lsn: lsnText(position.lsn), at: position.at - CLOCK_MARGIN_MICROS };
    this.#passLooks(this.#reached.lsn);
    await this.#rememberPassed();
    if (this.#gatherer.isDue) return await this.#closeSegment();
    const idle = this.#gatherer.isEmpty && messages.length === 0;
    if (!idle || performance.now() - this.#heartbeatAt < HEARTBEAT_MS) return;
    if (this.#reached.lsn > this.#recorded.lsn || this.#gaps.size > 0) await this.#closeSegment();
  }

  async #closeSegment(): Promise<void> {
    this.#heartbeatAt = performance.now();
    const gaps = [...this.#gaps.values()];
    const told = [...this.#told.values()];
    this.#gaps.clear();
    this.#told.clear();
    await this.#gatherer.close(this.#reached, gaps, told);
  }

  #durable(covered: Covered): void {
    this.#recorded = covered;
    this.#stream?.acknowledge(BigInt(`0x${covered.lsn}`));
  }

  async #learn(message: RelationMessage): Promise<void> {
    if (this.#open === null) throw new RangeError("a relation was described outside of a transaction");
    if (!(await this.#book.lookAlone(message, this.#open, this.#ctx.signal))) await this.#watchTables();
    const { altered, unclear } = this.#book.learn(message, this.#open);
    const table = { schema: message.schema, name: message.name };
    if (this.#book.get(message.oid) === null && !this.#book.hasNow(table))
      this.#declare(
        { reason: "table_not_published", tenantKey: null, table, ...before(this.#open) },
        "a table is gone or not published",
      );
    if (altered !== null) this.#sorter.altered(altered);
    if (unclear === null) return;
    const { since, nextXid } = unclear;
    const begins = { beginsLsn: since.lsn, beginsAt: since.at, causeXid: nextXid.toString() };
    this.#declare(
      { reason: "table_rewritten", tenantKey: null, table, ...begins },
      "a table's columns were changed several times before anybody looked",
    );
  }

  /** Takes in what the source's event triggers tell, in the transaction that they tell of. */
  #hear({ prefix, content }: { readonly prefix: string; readonly content: Buffer }): void {
    const open = this.#open;
    const told = open && readDdlMessage(prefix, content, this.#request.publicationName);
    if (open === null || told === null) return;
    if ("table" in told) {
      const taken = this.#book.tell(told.table, open);
      if (taken === null) return;
      this.#toldLsn = open.lsn;
      this.#told.set(taken.table.oid, taken.table);
      if (taken.altered !== null) this.#sorter.altered(taken.altered);
      return;
    }
    const table = "rewritten" in told ? told.rewritten.table : null;
    const why = "failed" in told ? `a change of tables could not be told: ${told.failed}` : "a table was rewritten";
    this.#declare({ reason: "table_rewritten", tenantKey: null, table, ...before(open) }, why);
  }

  /** What the catalogue showed is so from here on, for the tables that no message has told of. */
  #passLooks(lsn: string): void {
    for (let passed = this.#book.pass(lsn); passed !== null; passed = this.#book.pass(lsn)) {
      const { look, since, altered, contradicted } = passed;
      this.#passed = look;
      const begins = { beginsLsn: since.lsn, beginsAt: since.at, causeXid: look.nextXid.toString() };
      for (const table of contradicted) {
        const gap = { reason: "table_rewritten", tenantKey: null, table, ...begins } as const;
        this.#declare(gap, "a table's columns are not what the event triggers told");
      }
      if (altered.length === 0) continue;
      // No commit record begins just before a record's end; and the id is one that shows in no snapshot from before the look.
      const place = { lsn: lsnText(BigInt(`0x${look.endLsn}`) - 1n), at: look.endAt.toString() };
      this.#sorter.begin({ ...place, xid: look.nextXid.toString() });
      for (const one of altered) this.#sorter.altered(one);
    }
  }

  /** Whoever captures next begins with what was seen before the stream's recorded end, and with nothing later. */
  async #rememberPassed(): Promise<void> {
    const passed = this.#passed;
    // What was told behind the recorded end is not to be remembered with it: it will be told again.
    if (passed === null || passed.endLsn > this.#recorded.lsn || this.#toldLsn >= this.#recorded.lsn) return;
    this.#passed = null;
    await this.#request.target.rememberTables(this.#book.asTold(passed.seen));
  }

  /** Looks up the parents that this message and those behind it need, then applies it. */
  async #applyWithParents(message: RowMessage, messages: readonly Buffer[], index: number): Promise<void> {
    const wanted = parentsWanted(messages, index, this.#book, this.#sorter);
    await this.#ctx.source.connect((client) => this.#parents.lookUp(client, wanted, this.#xid), {
      signal: this.#ctx.signal,
    });
    if (!this.#sorter.apply(message))
      throw new RecoveryError("internal", "A parent was looked up and is still unknown");
  }

  #moved({ table, tenants }: TenantMove): void {
    if (this.#open === null) return;
    for (const tenantKey of tenants) {
      const why = `a row of ${tableLabel(table.relation.table)} changed its tenant, and others with it`;
      this.#declare({ reason: "tenant_moved", tenantKey, table: null, ...before(this.#open) }, why);
    }
  }

  /** A gap until the next full backups. */
  #declare(gap: Gap, why: string): void {
    const { source, log } = this.#ctx;
    this.#gaps.set(gapKey(source.id, this.#request.epoch, gap), gap);
    const table = gap.table === null ? null : tableLabel(gap.table);
    log.warn(
      { sourceId: source.id, reason: gap.reason, table, lsn: gap.beginsLsn },
      `the change log has a gap: ${why}`,
    );
  }

  /** Looks for tables that were rewritten, or are not in the publication. */
  async #watchTables(): Promise<void> {
    const { source, signal, log } = this.#ctx;
    const { target } = this.#request;
    this.#watchedAt = performance.now();
    const published = await source.connect((client) => this.#book.refresh(client), { signal });
    const { gaps, seen } = compareTables(this.#seen, published, this.#book.plan, this.#truncated);
    this.#seen = seen;
    this.#book.addLook(published, seen);
    this.#truncated.clear();
    if (gaps.length > 0) await target.declare(gaps);
    for (const { reason, table } of gaps) {
      const label = table === null ? null : tableLabel(table);
      log.warn({ sourceId: source.id, reason, table: label }, "a table has a gap in the change log");
    }
  }
}

/** The last moment before a transaction. */
function before(transaction: Transaction): Pick<Gap, "beginsLsn" | "beginsAt" | "causeXid"> {
  return {
    beginsLsn: lsnText(BigInt(`0x${transaction.lsn}`) - 1n),
    beginsAt: (BigInt(transaction.at) - 1n).toString(),
    causeXid: transaction.xid,
  };
}
