import { texts } from '../texts';
import { height, inMs, quantile } from './latency';

const says = texts.index;
const BARS = 120;
const lines = [1, 10, 100];

/** One bar per event, the newest at the right, on a logarithmic scale: one path, however many events there are. */
export function LatencyPlot({ samples }: { samples: readonly number[] }) {
  const median = quantile(samples, 0.5);
  const p99 = quantile(samples, 0.99);
  const shown = samples.slice(-BARS);
  const bars = shown.map((ms, at) => `M${BARS - shown.length + at + 0.5} 100V${(98 - height(ms) * 94).toFixed(1)}`).join('');
  const told = median === null || p99 === null ? says.noLatency : says.latencyIs(inMs(median), inMs(p99));
  return (
    <figure className="latency">
      <figcaption title={says.latencyExact}>
        <span>{says.latency}</span>
        <span>{says.median} <b>{median === null ? '–' : inMs(median)}</b> {says.p99} <b>{p99 === null ? '–' : inMs(p99)}</b></span>
      </figcaption>
      <div className="plot" role="img" aria-label={told}>
        <svg viewBox={`0 0 ${BARS} 100`} preserveAspectRatio="none" aria-hidden="true">
          {lines.map((ms) => <path key={ms} className="grid" d={`M0 ${98 - height(ms) * 94}H${BARS}`} />)}
          <path className="bars" d={bars} />
        </svg>
        {lines.map((ms) => <span key={ms} aria-hidden="true" style={{ bottom: `${2 + height(ms) * 94}%` }}>{ms === 1 ? '1 ms' : ms}</span>)}
      </div>
    </figure>
  );
}
