/** How the desk stands: by status, how long people wait, how much is said. */
import { useMemo, type ReactNode } from 'react';
import { sessionStatuses, type ChatMetrics } from '../../client/store/session';
import { texts } from '../texts';
import { span, useNow } from './clock';
import { Sparkline } from './Sparkline';

const words = texts.chat.metrics;

export function Metrics({ metrics }: { metrics: ChatMetrics | null }) {
  return (
    <div className="metrics" role="group" aria-label={words.title} tabIndex={0}>
      <dl className="t-tiles">
      {sessionStatuses.map((status) => (
        <div className="t-tile" key={status}>
          <dt>{words[status]}</dt>
          <dd>
            <Figure>{metrics ? String(metrics.sessions[status]) : null}</Figure>
            {(status === 'waiting' || status === 'active') && <Sparkline what={words[status]} value={metrics?.sessions[status] ?? null} />}
          </dd>
        </div>
      ))}
      <div className="t-tile" title={words.averageOf}><dt>{words.average}</dt><dd><Figure>{metrics && seconds(metrics.waiting_time.average_s)}</Figure></dd></div>
      <div className="t-tile" title={words.longestOf}><dt>{words.longest}</dt><dd><Figure>{metrics && <Longest metrics={metrics} />}</Figure></dd></div>
      <div className="t-tile">
        <dt>{words.rate}</dt>
        <dd>
          <Figure>{metrics ? String(metrics.messages_per_minute) : null}</Figure>
          <Sparkline what={words.rate} value={metrics?.messages_per_minute ?? null} />
        </dd>
      </div>
      </dl>
    </div>
  );
}

function Figure({ children }: { children: ReactNode }) {
  return children === null ? <span className="t-skeleton" data-size="title" /> : <span>{children}</span>;
}

function seconds(value: number | null): string {
  return value === null ? words.none : span(value);
}

/** Metrics are told when something changes; whoever waits longest waits on meanwhile. */
function Longest({ metrics }: { metrics: ChatMetrics }) {
  const now = useNow();
  const at = useMemo(() => Date.now(), [metrics.waiting_time]);
  const longest = metrics.waiting_time.longest_s;
  if (longest === null || metrics.sessions.waiting === 0) return words.none;
  return span(longest + Math.max(0, now - at) / 1000);
}
