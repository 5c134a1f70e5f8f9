import { useState } from 'react';
import type { EventsOf, TypeGlob } from '../src/event';
import type { RegisteredEvents } from '../src/registered';
import { useEvents, type EventsOptions } from './useEvents';

/**
 * The last event of a type, of one subject if it is named; null until one comes.
 *
 * ```tsx
 * const paid = useLatest('invoices.paid', invoice.id);
 * ```
 */
export function useLatest<Map extends object = RegisteredEvents, Glob extends TypeGlob<Map> = TypeGlob<Map>>(
  type: Glob,
  subject?: string,
  options: Omit<EventsOptions, 'subject'> = {},
): EventsOf<Map, Glob> | null {
  const about = JSON.stringify([type, subject, options.tenant]);
  const [latest, setLatest] = useState<{ about: string; event: EventsOf<Map, Glob> } | null>(null);
  useEvents<Map, Glob>(type, (event) => setLatest({ about, event }), { ...options, subject });
  return latest?.about === about ? latest.event : null;
}
