/** What `GET /v1/stats` tells, as far as the page shows it. */
import { texts } from '../texts';

export interface Stats {
  connections: {
    connection: string;
    sub: string;
    tenants?: readonly string[];
    transport: string;
    client?: string | null;
    age_s?: number;
  }[];
  ready?: boolean;
  /** Who administers some tenants is not told of the others. */
  events_total?: number;
  rates?: { events_per_second?: number | null; deliveries_per_second?: number | null } | null;
  lag_ms?: number | null;
  tenants?: number;
  /** What was cut off, told to fetch anew, or refused, by kind. */
  drops?: Readonly<Record<string, number>>;
  uptime_s?: number;
}

const says = texts.index;
const rate = (value: number | null | undefined) => (typeof value === 'number' ? value.toFixed(1) : null);

/** Name and value of each figure that the server gave. */
export function figuresOf(stats: Stats | null): readonly (readonly [string, string])[] {
  if (!stats) return [[says.connectionsOpen, '–']];
  const all: [string, string | null][] = [
    [says.connectionsOpen, String(stats.connections.length)],
    [says.listener, stats.ready === undefined ? null : stats.ready ? says.ready : says.notReady],
    [says.eventsIn, rate(stats.rates?.events_per_second)],
    [says.deliveriesOut, rate(stats.rates?.deliveries_per_second)],
    [says.lag, typeof stats.lag_ms === 'number' ? `${Math.round(stats.lag_ms)} ms` : null],
    [says.drops, stats.drops ? Object.values(stats.drops).reduce((sum, count) => sum + count, 0).toLocaleString() : null],
    [says.eventsTotal, stats.events_total?.toLocaleString() ?? null],
  ];
  return all.filter((figure): figure is [string, string] => figure[1] !== null);
}
