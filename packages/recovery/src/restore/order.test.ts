import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parentsFirst } from "./order.ts";

describe("parentsFirst", () => {
  it("puts every parent before its children and otherwise keeps the order", () => {
    const order = parentsFirst(
      ["lines", "notes", "orders", "customers"],
      [
        { child: "lines", parent: "orders" },
        { child: "orders", parent: "customers" },
      ],
    );
    expect(order).toEqual(["customers", "orders", "lines", "notes"]);
  });

  it("puts a cycle after what it points at and before what points at it", () => {
    const order = parentsFirst(
      ["leaf", "a", "b", "root"],
      [
        { child: "a", parent: "b" },
        { child: "b", parent: "a" },
        { child: "b", parent: "root" },
        { child: "leaf", parent: "a" },
        { child: "a", parent: "a" },
      ],
    );
    expect(order).toEqual(["root", "b", "a", "leaf"]);
  });

  it("does not care about parents outside the restore, nor about chains longer than the stack", () => {
    expect(parentsFirst(["a"], [{ child: "a", parent: "elsewhere" }])).toEqual(["a"]);
    const chain = Array.from({ length: 20_000 }, (_, n) => `t${n}`);
    const order = parentsFirst(
      chain,
      chain.slice(1).map((parent, n) => ({ child: `t${n}`, parent })),
    );
    expect(order).toEqual(chain.toReversed());
  });

  it("orders any graph without cycles", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(19), fc.nat(19)), { maxLength: 60 }), (pairs) => {
        const tables = Array.from({ length: 20 }, (_, n) => `t${n}`);
        const edges = pairs
          .filter(([a, b]) => a !== b)
          .map(([a, b]) => ({ child: `t${Math.max(a, b)}`, parent: `t${Math.min(a, b)}` }));
        const order = parentsFirst(tables, edges);
        expect([...order].sort()).toEqual([...tables].sort());
        for (const { child, parent } of edges) expect(order.indexOf(parent)).toBeLessThan(order.indexOf(child));
      }),
    );
  });
});
