import { uniformInt } from "pure-rand/distribution/uniformInt";
import { xoroshiro128plus } from "pure-rand/generator/xoroshiro128plus";

/** Chance that can be had again: the same seed says the same things in the same order. */
export interface Random {
  /** A whole number from `from` to `to`, both included. */
  whole(from: number, to: number): number;
  /** Throws on an empty list. */
  pick<T>(of: readonly T[]): T;
  /** True once in `times`, on average. */
  oneIn(times: number): boolean;
  shuffled<T>(of: readonly T[]): T[];
}

export function randomOf(seed: number): Random {
  const generator = xoroshiro128plus(seed);
  const whole = (from: number, to: number): number => uniformInt(generator, from, to);
  const pick = <T>(of: readonly T[]): T => {
    const [chosen] = of.slice(of.length === 0 ? 0 : whole(0, of.length - 1));
    if (chosen === undefined) throw new Error("nothing to choose from");
    return chosen;
  };
  return {
    whole,
    pick,
    oneIn: (times) => whole(1, times) === 1,
    shuffled: (of) =>
      of
        .map((item) => ({ item, at: whole(0, 2 ** 31 - 1) }))
        .sort((a, b) => a.at - b.at)
        .map(({ item }) => item),
  };
}
