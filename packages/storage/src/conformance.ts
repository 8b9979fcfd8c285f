import { describe } from "vitest";
import { atomicityCases } from "./conformance/atomicity.ts";
import { cancellationCases } from "./conformance/cancellation.ts";
import type { MakeStore } from "./conformance/harness.ts";
import { keyCases } from "./conformance/keys.ts";
import { listingCases } from "./conformance/listing.ts";
import { roundTripCases } from "./conformance/round-trip.ts";

export type { MakeStore, StoreUnderTest } from "./conformance/harness.ts";

/**
 * Holds a store to the contract in `object-store.ts`. Every driver and every decorator is held to it, by a test file of a few lines.
 *
 * @param makeStore an empty store, anew for every test
 */
export function describeObjectStore(name: string, makeStore: MakeStore): void {
  describe(name, () => {
    describe("gives back what it was given", () => roundTripCases(makeStore));
    describe("shows an object whole or not at all", () => atomicityCases(makeStore));
    describe("lists and deletes", () => listingCases(makeStore));
    describe("keeps keys inside", () => keyCases(makeStore));
    describe("lets go when told", () => cancellationCases(makeStore));
  });
}
