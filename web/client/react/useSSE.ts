import { useCallback, useState } from 'react';
import type { Connection, Reset, Status } from '../src/connection';
import type { EventsOf, TypeGlob } from '../src/event';
import type { Problem } from '../src/problem';
import type { RegisteredEvents } from '../src/registered';
import { useConnection } from './useConnection';
import { useEvents } from './useEvents';

export interface SSEOptions<Glob extends string = string> {
  /** Types or globs; all where it is left out. */
  subscriptions?: readonly Glob[];
  /** The tenant; that of the connection where it is left out. */
  organizationId?: string;
  /** How many events are kept. */
  limit?: number;
  /** The cursor to begin from; null waits. Now where it is left out. */
  after?: string | null;
  name?: string;
  enabled?: boolean;
  connection?: Connection;
}

export interface SSE<Event> {
  /** The last ones, oldest first. */
  events: readonly Event[];
  latest: Event | null;
  isConnected: boolean;
  status: Status;
  /** Why the subscription was refused. */
  error: Problem | null;
  /** Not null once something was missed that cannot be told: the list has a gap before the next event. */
  reset: Reset | null;
  clear: () => void;
  reconnect: () => void;
}

/**
 * The last events of some types, and whether they arrive. The transport is the connection's: Server-Sent Events, WebSocket or polling.
 *
 * ```tsx
 * const sse = useSSE({ subscriptions: ['documents.*', 'chat.*'], organizationId: 'acme' });
 * return <div>Events: {sse.events.length}</div>;
 * ```
 */
export function useSSE<Map extends object = RegisteredEvents, Glob extends TypeGlob<Map> = TypeGlob<Map>>({
  subscriptions,
  organizationId,
  limit = 100,
  after,
  name,
  enabled,
  connection: given,
}: SSEOptions<Glob> = {}): SSE<EventsOf<Map, Glob>> {
  type Event = EventsOf<Map, Glob>;
  const { connection, status, isConnected, reconnect } = useConnection(given);
  const about = JSON.stringify([subscriptions, organizationId ?? connection.tenant]);
  const [seen, setSeen] = useState<{ about: string; events: readonly Event[]; error: Problem | null; reset: Reset | null }>(() => empty(about));
  // Of another tenant, or of other types, nothing may stay on the screen, not even for one render.
  const current = seen.about === about ? seen : empty<Event>(about);
  const change = (next: (now: typeof seen) => typeof seen) => setSeen((now) => next(now.about === about ? now : empty(about)));

  useEvents<Map, Glob>(subscriptions ?? (['*'] as string[] as Glob[]), (event) => change((now) => ({ ...now, events: [...now.events, event].slice(-limit) })), {
    tenant: organizationId,
    after,
    name,
    enabled,
    connection,
    onReset: (reset) => change((now) => ({ ...now, reset })),
    onReady: () => change((now) => (now.error ? { ...now, error: null } : now)),
    onError: (error) => change((now) => ({ ...now, error })),
  });

  return {
    events: current.events,
    latest: current.events.at(-1) ?? null,
    isConnected,
    status,
    error: current.error,
    reset: current.reset,
    clear: useCallback(() => setSeen(empty(about)), [about]),
    reconnect,
  };
}

function empty<Event>(about: string): { about: string; events: readonly Event[]; error: Problem | null; reset: Reset | null } {
  return { about, events: [], error: null, reset: null };
}
