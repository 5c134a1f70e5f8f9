/**
 * Listens on the wire: what the client package is given as `fetch` and `WebSocket`, so that an event can be shown in exactly the bytes that brought
 * it, while the client that applications use does the work.
 */
import type { TidingsEvent } from '@tidings/client';

export interface Wire {
  fetch: typeof fetch;
  WebSocket: typeof WebSocket;
  /** The block, frame or page that the event came in. */
  bytesOf(event: TidingsEvent): Bytes | null;
}

export interface Bytes {
  kind: 'block' | 'frame' | 'page';
  text: string;
}

/** Of the last ones only: the page shows no more. */
const KEPT_MAX = 500;

export function listenOnWire(scope: { fetch: typeof fetch; WebSocket: typeof WebSocket } = globalThis): Wire {
  const kept = new Map<string, Bytes>();
  const keep = (event: TidingsEvent | undefined, bytes: Bytes) => {
    if (!event || typeof event !== 'object') return;
    kept.set(keyOf(event), bytes);
    if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value!);
  };

  class Tapped extends scope.WebSocket {
    constructor(url: string | URL, protocols?: string | string[]) {
      super(url, protocols);
      // The first listener: the bytes are kept before the client hands out the event.
      this.addEventListener('message', ({ data }) => {
        const frame = parsed(data) as { type?: string; event?: TidingsEvent } | null;
        if (frame?.type === 'event') keep(frame.event, { kind: 'frame', text: data as string });
      });
    }
  }

  return {
    WebSocket: Tapped,
    bytesOf: (event) => kept.get(keyOf(event)) ?? null,
    async fetch(input, init) {
      const response = await scope.fetch(input, init);
      const kind = response.headers.get('content-type') ?? '';
      if (kind.startsWith('text/event-stream') && response.body) {
        const blocks = blockReader((text, event) => keep(event, { kind: 'block', text }));
        return new Response(response.body.pipeThrough(new TransformStream({ transform(chunk: Uint8Array, out) { blocks(chunk); out.enqueue(chunk); } })), response);
      }
      if (kind.startsWith('application/json') && /\/events\?/.test(String(input instanceof Request ? input.url : input))) {
        const text = await response.clone().text();
        for (const event of (parsed(text) as { events?: TidingsEvent[] } | null)?.events ?? []) keep(event, { kind: 'page', text });
      }
      return response;
    },
  };
}

/** Finds the events in a stream's bytes; not a parser of event streams, only of what this server sends: one line of data a block. */
export function blockReader(found: (text: string, event: TidingsEvent) => void): (chunk: Uint8Array) => void {
  const decoder = new TextDecoder();
  let rest = '';
  return (chunk) => {
    rest += decoder.decode(chunk, { stream: true });
    const blocks = rest.split('\n\n');
    rest = blocks.pop() ?? '';
    for (const block of blocks) {
      if (/^event:/m.test(block)) continue;
      const event = parsed(/^data: ?(.*)$/m.exec(block)?.[1] ?? '') as TidingsEvent | null;
      if (event) found(block, event);
    }
  };
}

/** What is live only has no id; its time has microseconds. */
const keyOf = (event: TidingsEvent) => event.id ?? `${event.time} ${event.type} ${event.subject ?? ''}`;

function parsed(text: unknown): unknown {
  try {
    return JSON.parse(String(text));
  } catch {
    return null;
  }
}
