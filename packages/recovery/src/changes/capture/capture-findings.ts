import { tableKey } from "../../postgres/catalog-lookup.ts";
import type { Finding } from "../../postgres/finding.ts";
import { quoteColumns, quoteName, quoteTable } from "../../postgres/identifiers.ts";
import type { TableName } from "../../postgres/tenancy.ts";
import type { CapturePlan, TenantRule } from "./capture-plan.ts";
import { ddlTriggerStatement, OLDEST_SERVER_WITH_MESSAGES } from "./ddl-trigger.ts";
import type { CandidateTable, SourceReadiness } from "./source-readiness.ts";

/** publish_via_partition_root came with 13. */
const OLDEST_SERVER = 130_000;

export interface CaptureNames {
  readonly slotName: string;
  readonly publicationName: string;
}

/** The names of a source's slot and publication: a UUID without dashes fits into a slot's name, and two Rowbacks never meet. */
export function captureNames(sourceId: string): CaptureNames {
  const name = `rowback_${sourceId.replaceAll("-", "")}`;
  return { slotName: name, publicationName: name };
}

/** The tables that a publication can hold. */
export function publishable(readiness: SourceReadiness): TableName[] {
  return readiness.tables.filter((table) => table.persistence === "permanent").map((table) => table.table);
}

/**
 * What stands against capturing a source, or costs more than it has to; `error` means that setting up would fail, or would make the
 * customer's own statements fail. Pure.
 */
export function captureFindings(readiness: SourceReadiness, plan: CapturePlan, names: CaptureNames): Finding[] {
  return [
    ...serverFindings(readiness),
    ...roleFindings(readiness, names),
    ...ddlFindings(readiness, names),
    ...readiness.tables.flatMap((table) => tableFindings(table, plan.get(tableKey(table.table))?.rule)),
  ];
}

function finding(severity: Finding["severity"], code: string, message: string, hint: string): Finding {
  return { severity, code, table: null, message, hint };
}

function serverFindings(source: SourceReadiness): Finding[] {
  const found: Finding[] = [];
  const error = (code: string, message: string, hint: string): void => {
    found.push(finding("error", code, message, hint));
  };
  if (source.walLevel !== "logical")
    error(
      "wal_level",
      `The server's wal_level is ${source.walLevel}; changes can be read only with logical.`,
      "Run ALTER SYSTEM SET wal_level = 'logical'; and restart the server (on a managed server: set rds.logical_replication, cloudsql.logical_decoding or its like).",
    );
  if (source.inRecovery)
    error("standby", "The source is a standby; its changes are read from its primary.", "Register the primary.");
  if (source.serverVersionNumber < OLDEST_SERVER)
    error(
      "server_too_old",
      "The server is older than PostgreSQL 13.",
      "Upgrade the server; until then take full backups.",
    );
  if (source.slotsLeft < 1 && !source.slotExists)
    error("no_slot_left", "The server has no replication slot left.", "Raise max_replication_slots, and restart.");
  if (source.sendersLeft < 1)
    error("no_sender_left", "The server has no WAL sender left.", "Raise max_wal_senders, and restart.");
  if (source.keepSizeMib < 0)
    found.push(
      finding(
        "warning",
        "slot_without_limit",
        "A slot that nobody reads holds WAL until the server's disk is full: max_slot_wal_keep_size has no limit.",
        "Run ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); with what the disk can spare. Past it the slot is lost, and Rowback begins anew with full backups.",
      ),
    );
  return found;
}

function roleFindings(source: SourceReadiness, { publicationName }: CaptureNames): Finding[] {
  const role = quoteName(source.role);
  const found: Finding[] = [];
  if (!source.mayReplicate)
    found.push(
      finding(
        "error",
        "role_may_not_replicate",
        "Rowback's role may not read the server's changes.",
        `Run ALTER ROLE ${role} REPLICATION; (on Amazon RDS: GRANT rds_replication TO ${role};).`,
      ),
    );
  if (isPublished(source) || source.superuser) return found;
  const foreign = source.tables.filter((table) => !table.owned && table.persistence === "permanent");
  if (source.mayCreate && foreign.length === 0) return found;
  const statement = publicationStatement(source, publicationName);
  found.push(
    finding(
      "error",
      "role_may_not_publish",
      "Only the owner of all protected tables, with CREATE on the database, may publish them.",
      `Run as their owner or as a superuser: ${statement}`,
    ),
  );
  return found;
}

function ddlFindings(source: SourceReadiness, { publicationName }: CaptureNames): Finding[] {
  if (source.ddlTrigger || source.serverVersionNumber < OLDEST_SERVER_WITH_MESSAGES) return [];
  return [
    finding(
      "info",
      "ddl_not_told",
      "Nothing tells the capture of changed columns as they happen: it finds them at the next change of a row, or within 10 s, and several at once may leave a gap.",
      `To have every change of columns in the log at its exact place, run as a superuser: ${ddlTriggerStatement(publicationName)}`,
    ),
  ];
}

/** Whether the publication has just the tables it should. */
export function isPublished(source: SourceReadiness): boolean {
  const present = new Set(source.published?.map(tableKey));
  const wanted = publishable(source);
  return (
    source.viaRoot === true && present.size === wanted.length && wanted.every((table) => present.has(tableKey(table)))
  );
}

/** The statement that makes the publication what it should be. */
export function publicationStatement(source: SourceReadiness, publicationName: string): string {
  const name = quoteName(publicationName);
  // ONLY: a table's inheritance children are tables of their own, here as in a backup.
  const tables = source.tables
    .filter((table) => table.persistence === "permanent")
    .map(({ table, kind }) => (kind === "table" ? `ONLY ${quoteTable(table)}` : quoteTable(table)))
    .join(", ");
  if (source.published === null)
    return `CREATE PUBLICATION ${name} FOR TABLE ${tables} WITH (publish_via_partition_root = true);`;
  const viaRoot = source.viaRoot === true ? "" : `ALTER PUBLICATION ${name} SET (publish_via_partition_root = true); `;
  return `${viaRoot}ALTER PUBLICATION ${name} SET TABLE ${tables};`;
}

function tableFindings(table: CandidateTable, rule: TenantRule | undefined): Finding[] {
  const about = (severity: Finding["severity"], code: string, message: string, hint: string): Finding => ({
    severity,
    code,
    table: table.table,
    message,
    hint,
  });
  if (table.persistence === "unlogged")
    return [
      about(
        "warning",
        "unlogged",
        "The table is unlogged: its changes are written nowhere, so it can only be restored to the moment of a backup.",
        `Run ALTER TABLE ${quoteTable(table.table)} SET LOGGED;`,
      ),
    ];
  if (table.kind === "partitioned") return partitionFindings(table, about);
  if (!updatesWork(table)) {
    return [
      about(
        "error",
        "no_replica_identity",
        "The table has no replica identity: once it is published, every UPDATE and DELETE of your application on it would fail.",
        `Run ${identityStatement(table, rule)}`,
      ),
    ];
  }
  if (tellsTenant(table, rule)) return [];
  return [
    about(
      "warning",
      "tenant_outside_identity",
      "A deleted row does not say whose it was, so every restore to a moment reads the deletions of all tenants of this table.",
      `Run ${identityStatement(table, rule)}`,
    ),
  ];
}

function partitionFindings(
  table: CandidateTable,
  about: (severity: Finding["severity"], code: string, message: string, hint: string) => Finding,
): Finding[] {
  const found: Finding[] = [];
  if (table.identity !== "d" || table.identityColumns.length === 0)
    found.push(
      about(
        "error",
        "partitioned_identity",
        "A partitioned table is captured by its primary key: a new partition begins with that identity, whatever the table's own is.",
        `Give it a primary key, and run ALTER TABLE ${quoteTable(table.table)} REPLICA IDENTITY DEFAULT;`,
      ),
    );
  for (const partition of table.oddPartitions) {
    const statement = partition.hasKey || partition.identity === "i" ? "DEFAULT" : "FULL";
    found.push(
      about(
        "error",
        "no_replica_identity",
        `The partition ${quoteTable(partition.table)} has no replica identity that can be read: its updates would fail or be misread.`,
        `Run ALTER TABLE ${quoteTable(partition.table)} REPLICA IDENTITY ${statement};`,
      ),
    );
  }
  return found;
}

function updatesWork({ identity, identityColumns }: CandidateTable): boolean {
  return identity === "f" || identityColumns.length > 0;
}

function tellsTenant({ identity, identityColumns }: CandidateTable, rule: TenantRule | undefined): boolean {
  if (identity === "f" || rule === undefined) return true;
  return tenantColumns(rule).every((column) => identityColumns.includes(column));
}

function tenantColumns(rule: TenantRule): readonly string[] {
  if (rule.kind === "constant") return [];
  return rule.kind === "column" ? [rule.column] : rule.columns;
}

/** The cheapest way to an identity that tells the tenant: an index that is there, one that could be, or the whole row. */
function identityStatement(table: CandidateTable, rule: TenantRule | undefined): string {
  const name = quoteTable(table.table);
  const full = `ALTER TABLE ${name} REPLICA IDENTITY FULL;`;
  const columns = rule === undefined ? [] : tenantColumns(rule);
  const key = table.usableIndexes[0];
  // Without a key rows are told apart by all their columns.
  if (key === undefined) return full;
  const covering = table.usableIndexes.find((index) => columns.every((column) => index.columns.includes(column)));
  if (covering !== undefined)
    return `ALTER TABLE ${name} REPLICA IDENTITY USING INDEX ${quoteName(covering.name)}; or ${full}`;
  if (!columns.every((column) => table.notNull.includes(column))) return full;
  const index = quoteName(`${table.table.name.slice(0, 40)}_rowback`);
  const all = quoteColumns([...new Set([...key.columns, ...columns])]);
  return `CREATE UNIQUE INDEX CONCURRENTLY ${index} ON ${name} (${all}); ALTER TABLE ${name} REPLICA IDENTITY USING INDEX ${index}; or simply ${full}`;
}
