import { useEffect, useRef } from 'react';
import type { Connection, Filter, Ready, Reset } from '../src/connection';
import type { EventsOf, TidingsEvent, TypeGlob } from '../src/event';
import type { Problem } from '../src/problem';
import type { RegisteredEvents } from '../src/registered';
import { useGivenConnection } from './useConnection';

export interface EventsOptions {
  subject?: string | undefined;
  tenant?: string | undefined;
  /** The cursor of the list that was read before; now where it is left out. While it is null, nothing is subscribed to: the list is not there yet. */
  after?: string | null | undefined;
  /** Keeps the cursor under this name, so that a reloaded page goes on where it was. */
  name?: string | undefined;
  /** False: nothing is subscribed to. */
  enabled?: boolean | undefined;
  /** What was missed cannot be told: fetch the state again. */
  onReset?: ((reset: Reset) => void) | undefined;
  onReady?: ((ready: Ready) => void) | undefined;
  onError?: ((problem: Problem) => void) | undefined;
  /** Instead of the provider's. */
  connection?: Connection | undefined;
}

/**
 * Calls `handler` with each event of these types, as globs. The handler may be a new function in each render.
 *
 * ```tsx
 * useEvents(['documents.*'], (event) => console.log(event.type, event.subject), { onReset: refetch });
 * ```
 */
export function useEvents<Map extends object = RegisteredEvents, Glob extends TypeGlob<Map> = TypeGlob<Map>>(
  types: Glob | readonly Glob[],
  handler: (event: EventsOf<Map, Glob>) => void,
  options: EventsOptions = {},
): void {
  const connection = useGivenConnection(options.connection);
  const latest = useRef({ handler, options });
  // After the render, not in it: a render that React throws away must not be called back.
  useEffect(() => {
    latest.current = { handler, options };
  });

  const globs = (typeof types === 'string' ? [types] : (types as readonly string[])).join();
  const { subject, tenant, name } = options;
  const wanted = (options.enabled ?? true) && options.after !== null;
  // Only where the subscription begins: a cursor that moves later is no reason to subscribe anew.
  const after = useRef(options.after);
  after.current = options.after;

  useEffect(() => {
    if (!wanted) return undefined;
    const filter: Filter = { types: globs.split(',') };
    if (subject !== undefined) filter.subject = subject;
    if (tenant !== undefined) filter.tenant = tenant;
    if (name !== undefined) filter.name = name;
    if (after.current !== undefined) filter.after = after.current;
    const subscription = connection.subscribe(filter, {
      event: (event) => latest.current.handler(event as TidingsEvent as EventsOf<Map, Glob>),
      reset: (reset) => latest.current.options.onReset?.(reset),
      ready: (ready) => latest.current.options.onReady?.(ready),
      error: (problem) => latest.current.options.onError?.(problem),
    });
    return () => subscription.close();
  }, [connection, globs, subject, tenant, name, wanted]);
}
