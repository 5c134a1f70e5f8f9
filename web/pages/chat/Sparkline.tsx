/** A line of what was seen since the page was opened: no axes, its end is the number beside it. */
import { useEffect, useRef, useState } from 'react';
import { texts } from '../texts';

const everyMs = 5000;
const samplesMax = 120;
const size = { width: 96, height: 24 };

/** The values of a number that changes, at regular times. */
export function useSamples(value: number | null): readonly number[] {
  const [samples, setSamples] = useState<readonly number[]>([]);
  const latest = useRef(value);
  latest.current = value;
  useEffect(() => {
    const take = () => {
      const now = latest.current;
      if (now !== null) setSamples((before) => [...before, now].slice(-samplesMax));
    };
    take();
    const timer = setInterval(take, everyMs);
    return () => clearInterval(timer);
  }, []);
  return samples;
}

export function Sparkline({ what, value }: { what: string; value: number | null }) {
  const samples = [...useSamples(value), ...(value === null ? [] : [value])];
  if (value === null) return null;
  const most = Math.max(1, ...samples);
  const step = size.width / Math.max(12, samples.length - 1);
  // Drawn from the right edge: now is always at the same place.
  const across = (index: number) => (size.width - (samples.length - 1 - index) * step).toFixed(1);
  const points = samples.map((sample, index) => `${across(index)},${(size.height - 2 - (sample / most) * (size.height - 4)).toFixed(1)}`);
  const minutes = Math.max(1, Math.round((samples.length * everyMs) / 60_000));
  return (
    <svg className="spark" viewBox={`0 0 ${size.width} ${size.height}`} role="img" aria-label={texts.chat.metrics.chart(what, minutes, value, Math.max(...samples))} preserveAspectRatio="none">
      <path d={`M${across(0)},${size.height}L${points.join(' ')}L${size.width},${size.height}Z`} />
      <polyline points={points.join(' ')} vectorEffect="non-scaling-stroke" />
    </svg>
  );
}
