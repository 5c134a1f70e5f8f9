/** Pages: asked for one after the other by a link that works where nothing else does, and to catch up with what was missed. */
import type { Api } from './api';
import { byRoute } from './command';
import type { TidingsEvent } from './event';
import type { Ears, Link, Wire } from './link';
import { pathOf } from './path';
import { asProblem, Problem } from './problem';
import { ANSWER_MS } from './within';

export interface Page {
  events: TidingsEvent[];
  cursor: string;
  more: boolean;
}

/** A request is held so long. */
const WAIT_S = 25;

export async function page(api: Api, wire: Wire, after: string | null, wait: number, signal?: AbortSignal): Promise<Page> {
  const path = pathOf(wire, { after, wait, limit: 1000, client: api.client });
  const found = await api.request<Page | null>('GET', path, { signal, headers: { accept: 'application/json' } }, ANSWER_MS + wait * 1000);
  if (!found?.cursor) throw new Problem('unreachable', 'what came is no page');
  return found;
}

export function poll(api: Api, wire: Wire, after: string | null, ears: Ears): Link {
  const control = new AbortController();
  const { signal } = control;
  const read = async () => {
    // Not held, so that it is known at once whether this works.
    let found = await page(api, wire, after ?? 'now', 0, signal);
    let cursor = after ?? found.cursor;
    const told = { cursor, resumed: after !== null, heartbeatMs: WAIT_S * 1000 };
    if (!signal.aborted) ears.opened(told);
    while (!signal.aborted) {
      ears.alive();
      for (const event of found.events) ears.event(event);
      if (signal.aborted) return;
      ears.moved((cursor = found.cursor));
      found = await page(api, wire, cursor, found.more ? 0 : WAIT_S, signal);
    }
  };
  read().catch((error: unknown) => {
    if (!signal.aborted) ears.ended(asProblem(error));
  });
  // Nobody is seen looking by a poll: the server knows of no connection.
  return { transport: 'poll', close: () => control.abort(), command: (name, args) => byRoute(api, name, args) };
}
