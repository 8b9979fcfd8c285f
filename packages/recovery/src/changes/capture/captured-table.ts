import type { Relation, RelationColumn } from "../log/segment-index.ts";
import type { PlannedCapture, Route, TenantRule } from "./capture-plan.ts";
import type { RelationMessage } from "./pgoutput.ts";

/** A tenant rule with the columns' places in the message in the place of their names. */
type PlacedRule =
  | { readonly kind: "constant"; readonly tenant: string }
  | { readonly kind: "column"; readonly column: number }
  | { readonly kind: "via"; readonly columns: readonly number[]; readonly route: Route };

/** What a row of this table tells of a parent's tenant, for the rows of other tables that refer to it. */
export interface Lead {
  readonly route: Route;
  readonly key: readonly number[];
  readonly rule: PlacedRule;
}

/** A table as its last relation message had it, ready for its changes. */
export interface CapturedTable {
  readonly oid: number;
  readonly relation: Relation;
  readonly rule: PlacedRule;
  /** What tells the tenant is part of what a delete and the old row of an update carry. */
  readonly tellsOldTenant: boolean;
  /** Per column, whether a key tuple says anything of it. */
  readonly known: readonly boolean[];
  readonly leads: readonly Lead[];
}

/**
 * What a relation message says of a table together with what is planned for it. Null when the plan has no tenant for it, or the columns
 * that would tell one are not in the message. Pure.
 * @param columns the message's, identified
 */
export function describeTable(
  message: RelationMessage,
  planned: PlannedCapture | undefined,
  columns: readonly RelationColumn[],
): CapturedTable | null {
  if (planned === undefined) return null;
  const place = (names: readonly string[]): number[] | null => {
    const places = names.map((name) => message.columns.findIndex((column) => column.name === name));
    return places.includes(-1) ? null : places;
  };
  const rule = placeRule(planned.rule, place);
  if (rule === null) return null;
  const known = message.columns.map((column) => column.key);
  return {
    oid: message.oid,
    relation: {
      table: { schema: message.schema, name: message.name },
      scope: planned.scope,
      identity: message.identity === "f" ? "full" : message.identity === "n" ? "nothing" : "key",
      columns: [...columns],
    },
    rule,
    tellsOldTenant: columnsOf(rule).every((column) => known[column] === true),
    known,
    leads: planned.leadTo.flatMap((route) => {
      const key = place(route.referenced);
      const onward: TenantRule =
        "column" in route.answer ? { kind: "column", column: route.answer.column } : { kind: "via", ...route.answer };
      const leadRule = placeRule(onward, place);
      return key === null || leadRule === null ? [] : [{ route, key, rule: leadRule }];
    }),
  };
}

function placeRule(rule: TenantRule, place: (names: readonly string[]) => number[] | null): PlacedRule | null {
  if (rule.kind === "constant") return rule;
  const columns = place(rule.kind === "column" ? [rule.column] : rule.columns);
  const [column] = columns ?? [];
  if (columns === null || column === undefined) return null;
  return rule.kind === "column" ? { kind: "column", column } : { kind: "via", columns, route: rule.route };
}

function columnsOf(rule: PlacedRule): readonly number[] {
  if (rule.kind === "constant") return [];
  return rule.kind === "column" ? [rule.column] : rule.columns;
}
