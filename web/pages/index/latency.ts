/** From the write to this page. Exact where both run on one machine: it is this machine's clock minus the event's time. */

/** The fine clock drifts while a machine sleeps; then the coarse one is the truer. */
export function now(): number {
  const fine = performance.timeOrigin + performance.now();
  const coarse = Date.now();
  return Math.abs(fine - coarse) < 20 ? fine : coarse;
}

export function inMs(ms: number): string {
  return ms < 9.95 ? `${ms.toFixed(1)} ms` : ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
}

/** Null of nothing. */
export function quantile(samples: readonly number[], q: number): number | null {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? null;
}

/** Where a latency stands between 0.3 ms (0) and 1 s (1): logarithmic, so that both 1 ms and 1 s can be read. */
export function height(ms: number): number {
  return Math.min(1, Math.max(0, Math.log10(Math.max(ms, 0.3) / 0.3) / Math.log10(1_000 / 0.3)));
}
