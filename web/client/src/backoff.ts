/** When to try again. Full jitter, so that a thousand clients that lost the same server do not come back in one moment. */
const FIRST_MS = 500;
const LONGEST_MS = 20_000;
/** A connection that ends sooner was none: a server that accepts and closes would be called without a pause. */
export const STABLE_MS = 5_000;

/** For the attempt after so many failed ones, in milliseconds. What the server asks for is the least. */
export function backoff(failed: number, random: () => number, atLeastMs: number | null): number {
  const most = Math.min(LONGEST_MS, FIRST_MS * 2 ** (failed + 1));
  const own = FIRST_MS + random() * (most - FIRST_MS);
  // Spread behind what was asked for as well: everybody was told the same number.
  return atLeastMs === null ? own : Math.max(own, atLeastMs + random() * FIRST_MS);
}
