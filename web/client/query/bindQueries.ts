import type { QueryClient, QueryKey } from '@tanstack/query-core';
import type { Connection } from '../src/connection';
import type { EventsOf, TidingsEvent, TypeGlob } from '../src/event';
import type { RegisteredEvents } from '../src/registered';

/** Which queries some events are about, and what becomes of them. */
export interface QueryBinding<Event = TidingsEvent> {
  /** Types, as globs. */
  types: string | readonly string[];
  subject?: string;
  tenant?: string;
  /** All that these events can concern: a key, or the beginning of several. Fetched again when something was missed. */
  queryKey: QueryKey;
  /** The queries that this one event concerns, where that is less; null: none. */
  narrow?: (event: Event) => QueryKey | null;
  /** The data with the change in it, a new object; undefined where that cannot be told, so that it is fetched again. Without it, queries are fetched again. */
  patch?: (data: unknown, event: Event, queryKey: QueryKey) => unknown;
}

export interface BindOptions {
  /** How long queries wait for further events before they are fetched again, in milliseconds: a burst costs one request. */
  settleMs?: number;
}

/** A binding whose events are those of its types, for `bindQueries`. */
export function queryBinding<Map extends object = RegisteredEvents, const Glob extends TypeGlob<Map> = TypeGlob<Map>>(
  binding: Omit<QueryBinding<EventsOf<Map, Glob>>, 'types'> & { types: Glob | readonly Glob[] },
): QueryBinding {
  return binding as unknown as QueryBinding;
}

/**
 * Keeps the cache of TanStack Query in step with events: what they concern is patched, or fetched again. Returns a function that ends it.
 *
 * ```ts
 * const unbind = bindQueries(connection, queryClient, [
 *   { types: 'documents.*', queryKey: ['documents'] },
 *   queryBinding({ types: 'invoices.updated', queryKey: ['invoice'], narrow: ({ subject }) => ['invoice', subject], patch: (_old, { data }) => data }),
 * ]);
 * ```
 */
export function bindQueries(connection: Connection, queries: QueryClient, bindings: readonly QueryBinding[], { settleMs = 50 }: BindOptions = {}): () => void {
  const stale = new Map<string, QueryKey>();
  let timer: ReturnType<typeof setTimeout> | undefined;

  const fetchAgain = (queryKey: QueryKey) => {
    stale.set(JSON.stringify(queryKey), queryKey);
    timer ??= setTimeout(() => {
      timer = undefined;
      const keys = [...stale.values()];
      stale.clear();
      for (const key of keys) void queries.invalidateQueries({ queryKey: key });
    }, settleMs);
  };

  const apply = (binding: QueryBinding, event: TidingsEvent) => {
    const concerned = binding.narrow ? binding.narrow(event) : binding.queryKey;
    if (!concerned) return;
    if (!binding.patch || event.truncated) {
      fetchAgain(concerned);
      return;
    }
    for (const query of queries.getQueryCache().findAll({ queryKey: concerned })) {
      // An answer that is under way may be older than the event, and would overwrite what is patched now.
      if (query.state.fetchStatus !== 'idle') fetchAgain(query.queryKey);
      if (query.state.data === undefined) continue;
      const patched = binding.patch(query.state.data, event, query.queryKey);
      if (patched === undefined) fetchAgain(query.queryKey);
      else queries.setQueryData(query.queryKey, patched);
    }
  };

  const subscriptions = bindings.map((binding) =>
    connection.subscribe(
      {
        types: typeof binding.types === 'string' ? [binding.types] : binding.types,
        ...(binding.subject !== undefined && { subject: binding.subject }),
        ...(binding.tenant !== undefined && { tenant: binding.tenant }),
      },
      {
        event: (event) => apply(binding, event as TidingsEvent),
        reset: () => fetchAgain(binding.queryKey),
        // What was read before the subscription stood may lack a change of the time in between. Later connections go on from the cursor.
        ready({ again }) {
          if (!again && queries.getQueryCache().findAll({ queryKey: binding.queryKey }).length) fetchAgain(binding.queryKey);
        },
      },
    ),
  );

  return () => {
    clearTimeout(timer);
    for (const subscription of subscriptions) subscription.close();
  };
}
