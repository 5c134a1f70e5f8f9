/** Server-Sent Events by `fetch`: it can carry a header, and shows why it was refused. The browser's EventSource does neither, and gives up for good at a proxy's 502. */
import type { Api } from './api';
import { blocks } from './blocks';
import { byRoute } from './command';
import type { TidingsEvent } from './event';
import type { Ears, Link, Wire } from './link';
import { pathOf } from './path';
import { asProblem, Problem } from './problem';

export function stream(api: Api, wire: Wire, after: string | null, ears: Ears): Link {
  const control = new AbortController();
  const { signal } = control;
  let over = false;
  let retryAfterMs: number | null = null;
  /** Its id at the server, and the session that it shows there. */
  let connection: string | null = null;
  let session: unknown;
  const end = (why: Problem) => {
    if (over || signal.aborted) return;
    over = true;
    control.abort();
    // It may have said in advance how long to wait.
    ears.ended(why.retryAfterMs === null ? Object.assign(why, { retryAfterMs }) : why);
  };

  const take = blocks(({ event, data, id, retry }) => {
    if (over || signal.aborted) return;
    retryAfterMs = retry ?? retryAfterMs;
    if (data === null) return id === null ? undefined : ears.moved(id);
    const told = JSON.parse(data);
    if (!event) ears.event(told as TidingsEvent);
    else if (event === 'hello') {
      connection = told.connection;
      ears.opened({ cursor: told.cursor, resumed: told.resumed, heartbeatMs: told.heartbeat_s * 1000 });
    } else if (event === 'reset') ears.reset(told.reason, told.cursor);
    else if (event === 'bye') end(new Problem(told.reason, 'the server ended the stream', told.code));
  });

  const read = async () => {
    const headers = { accept: 'text/event-stream' };
    const response = await api.send('GET', pathOf(wire, { after, client: api.client }), { signal, headers });
    if (!response.headers.get('content-type')?.startsWith('text/event-stream')) throw new Problem('unreachable', 'what came is no stream', response.status);
    const reader = response.body!.getReader();
    const text = new TextDecoder();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) break;
      ears.alive();
      take(text.decode(value, { stream: true }));
    }
    end(new Problem('unreachable', 'the stream was cut off'));
  };
  read().catch((error: unknown) => end(asProblem(error)));
  return {
    transport: 'sse',
    close: () => control.abort(),
    command(name, args) {
      const shown = { connection, session };
      if (name === 'chat.view') session = args['session'];
      return byRoute(api, name, args, shown);
    },
  };
}
