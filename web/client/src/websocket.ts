/** One socket for one tenant. A browser cannot set its headers, so a token is changed into a ticket first; the cookie goes along by itself. */
import type { Api } from './api';
import type { TidingsEvent } from './event';
import type { Ears, Link, Wire } from './link';
import { asProblem, EXPIRED, Problem } from './problem';
import { Questions } from './questions';

const PROTOCOL = 'tidings.v1.json';
/** The subscription's id: there is one. */
const ID = 's';
const ENDED = 'the connection ended';

interface Frame {
  type: string;
  id?: string;
  event?: TidingsEvent;
  cursor?: string;
  resumed?: boolean;
  reason?: string;
  heartbeat_s?: number;
  code?: string | number;
  message?: string;
  ok?: boolean;
  data?: unknown;
  error?: { code: string; message: string; field?: string; current?: unknown };
}

/** A frame gives a refusal's code without its HTTP status. */
const STATUSES: readonly [RegExp, number][] = [
  [/^(token|ticket)_/, 401],
  [/^forbidden/, 403],
  [/^not_found|^unknown/, 404],
  [/^conflict/, 409],
  [/^invalid/, 422],
  [/^too_many/, 429],
  [/^(no|bad|not)_/, 501],
];
const statusOf = (code: string) => STATUSES.find(([pattern]) => pattern.test(code))?.[1] ?? 503;

export function websocket(api: Api, Socket: typeof WebSocket, wire: Wire, after: string | null, ears: Ears): Link {
  let socket: WebSocket | null = null;
  let over = false;
  let heartbeatMs = 0;
  const questions = new Questions();
  const say = (frame: object) => socket?.readyState === 1 && socket.send(JSON.stringify(frame));

  /** With a word to its ears, where there is a reason. */
  const end = (why?: Problem) => {
    if (over) return;
    over = true;
    socket?.close();
    questions.end();
    if (why) ears.ended(why);
  };

  const take = (frame: Frame) => {
    switch (frame.type) {
      case 'hello':
        heartbeatMs = frame.heartbeat_s! * 1000;
        // What is null is not said: JSON leaves out what is undefined.
        say({ type: 'subscribe', id: ID, tenant: wire.tenant ?? undefined, types: wire.types ?? undefined, subject: wire.subject ?? undefined, after: after ?? undefined });
        break;
      case 'subscribed':
        ears.opened({ cursor: frame.cursor!, resumed: !!frame.resumed, heartbeatMs });
        break;
      case 'event':
        ears.event(frame.event!);
        break;
      case 'reset':
        ears.reset(frame.reason!, frame.cursor ?? null);
        break;
      case 'heartbeat':
        if (frame.cursor) ears.moved(frame.cursor);
        break;
      case 'result': {
        const { code = '', message = '', field, current } = frame.error ?? {};
        questions.answer(Number(frame.id), frame.data, frame.ok ? undefined : new Problem(code, message, statusOf(code), field ?? null, current ?? null));
        break;
      }
      case 'error': {
        const code = String(frame.code);
        // Without an id it is about a token that was to replace the old one: another one is needed, as if that had run out.
        end(new Problem(code, frame.message ?? '', frame.id === undefined ? EXPIRED : statusOf(code)));
        break;
      }
      case 'bye':
        end(new Problem(frame.reason!, ENDED, Number(frame.code)));
    }
  };

  const open = async () => {
    const query = new URLSearchParams();
    if ((await api.token.current()) !== null) query.set('ticket', (await api.request<{ ticket: string }>('POST', '/v1/tickets')).ticket);
    if (api.client) query.set('client', api.client);
    if (over) return;
    socket = new Socket(`${api.url.replace(/^http/, 'ws')}/v1/ws?${query}`, PROTOCOL);
    socket.onmessage = ({ data }) => {
      if (over) return;
      ears.alive();
      take(JSON.parse(String(data)) as Frame);
    };
    // Says nothing that `onclose` does not; in Node, an error that nobody listens to ends the process.
    socket.onerror = () => {};
    socket.onclose = ({ code, reason }) => end(new Problem(code >= 4000 ? reason : 'unreachable', ENDED, code >= 4000 ? code : 0));
  };
  open().catch((error: unknown) => end(asProblem(error)));

  return {
    transport: 'websocket',
    close: () => end(),
    ping: () => void say({ type: 'ping' }),
    renew: (token) => void say({ type: 'auth', token }),
    command: (name, args) => questions.ask((id) => say({ type: 'command', id: String(id), name, args })),
  };
}
