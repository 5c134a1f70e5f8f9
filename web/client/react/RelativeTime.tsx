import { useEffect, useState, type ReactElement } from 'react';
import { cell } from '../store/store';
import { texts } from './texts';
import { useStore } from './useStore';

/** One clock for all times on a page: it ticks while somebody looks. */
const clock = cell(Date.now(), () => {
  clock.set(Date.now());
  const timer = setInterval(() => clock.set(Date.now()), 15_000);
  return () => clearInterval(timer);
});

const units = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
] as const;

/** "5 minutes ago", kept true, with the exact time for those who point at it and for programs. */
export function RelativeTime({ at }: { at: string | number }): ReactElement {
  const now = useStore(clock);
  // The server renders no time of its own: its language and zone are not the reader's.
  const [mounted, setMounted] = useState(false);
  useEffect(() => setMounted(true), []);
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) return <span />;
  const iso = date.toISOString();
  return (
    <time dateTime={iso} title={mounted ? date.toLocaleString() : undefined}>
      {mounted ? relative(date.getTime(), now) : iso.slice(0, 10)}
    </time>
  );
}

function relative(at: number, now: number): string {
  const passed = Math.max(0, now - at);
  if (passed > 7 * 86_400_000) return new Date(at).toLocaleDateString(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
  for (const [unit, length] of units) {
    if (passed >= length) return new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' }).format(-Math.floor(passed / length), unit);
  }
  return texts.time.justNow;
}
