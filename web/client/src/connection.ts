import type { AnyEvents, EventsOf, TypeGlob } from './event';
import type { Problem } from './problem';

export type TransportName = 'websocket' | 'sse' | 'poll';

/**
 * - `connecting`: trying; `retryAt` says when again, null while an attempt is under way
 * - `connected`: events arrive as they are committed
 * - `polling`: events are asked for; nothing is lost, they come later
 * - `offline`: the browser has no network, or the page is put away; goes on by itself
 * - `closed`: for good, with the reason: `close()` was called, or the server said not to come back
 */
export type State = 'connecting' | 'connected' | 'polling' | 'offline' | 'closed';

export interface Status {
  readonly state: State;
  /** The one in use, or tried. */
  readonly transport: TransportName | null;
  /** Why it is so: a code of the protocol (`token_expired`, `draining`, `slow` …) or `closed`, `offline`, `silent`, `unreachable`, `buffered`. */
  readonly reason: string | null;
  /** Of the next attempt, epoch milliseconds. */
  readonly retryAt: number | null;
  /** Of this state, epoch milliseconds. */
  readonly since: number;
  /** Whether another tab of this browser holds the connection for this one. */
  readonly shared: boolean;
  /** Whether this one holds the connection: one of all tabs that share it, so that an alert sounds once. Always where nothing is shared. */
  readonly leads: boolean;
}

export interface Options {
  /** Of the server. The page's own origin where it is left out. */
  url?: string | URL;
  /** The tenant of subscriptions that name none. Without one, they are of all tenants: for admins. */
  tenant?: string;
  /** Asked before every connect and when a token has run out; again when it has not answered for 15 s. Null: the cookie decides. Throw a `Problem` with status 401 to stop. */
  getToken?: (why: { reason: 'connect' | 'expired' | 'refused' }) => string | null | Promise<string | null>;
  transport?: 'auto' | TransportName;
  /** One connection per browser, shared by its tabs. On where the browser can; false: a connection for this page alone. */
  share?: boolean;
  /** Keeps cursors across reloads, for subscriptions with a `name`. `sessionStorage` where there is one. */
  storage?: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null;
  /** What the operator sees of this client: up to 64 printable ASCII characters, the rest is left out. */
  clientName?: string;
  /** For tests and for places without the global ones. */
  fetch?: typeof fetch;
  WebSocket?: typeof WebSocket;
  /** From 0 to 1, for the jitter of retries. */
  random?: () => number;
}

export interface Filter<Map extends object = AnyEvents, Glob extends TypeGlob<Map> = string> {
  /** Globs, as `documents.*`. All where it is left out. */
  types?: readonly Glob[];
  subject?: string;
  tenant?: string;
  /** The cursor of the list that was read before. Now where it is left out. */
  after?: string | null;
  /** Keeps the cursor under this name, so that a reloaded page goes on where it was; `after` is then the beginning of the first time only. */
  name?: string;
  signal?: AbortSignal;
}

export interface Ready {
  cursor: string;
  /** Everything since the given cursor came, or comes. */
  resumed: boolean;
  /** The first time, or after a reconnect. */
  again: boolean;
}

export interface Reset {
  reason: string;
  /** Fetch the state again; the subscription is live from here. */
  cursor: string | null;
}

export interface Handlers<Event> {
  /** Without it, events wait for the subscription's iterator. */
  event?(event: Event): void;
  /** What was missed cannot be told: fetch the state again. Comes before any newer event. */
  reset?(reset: Reset): void;
  /** Before the first event of each connection. */
  ready?(ready: Ready): void;
  /** Refused: the subscription has ended. */
  error?(problem: Problem): void;
}

export interface Subscription<Event = unknown> extends AsyncIterable<Event>, Disposable {
  /** I have seen everything up to here. Null before the first `ready` without `after`. */
  readonly cursor: string | null;
  /** Settles with the first `ready`, or with the refusal. */
  readonly ready: Promise<Ready>;
  close(): void;
}

export interface Connection<Map extends object = AnyEvents> {
  readonly url: string;
  readonly tenant: string | null;
  /** A new object at each change, the same one in between. */
  readonly status: Status;
  /** Called at each change; the returned function ends that. */
  onStatus(listener: (status: Status) => void): () => void;
  subscribe<Glob extends TypeGlob<Map>>(filter: Filter<Map, Glob>, handlers?: Handlers<EventsOf<Map, Glob>>): Subscription<EventsOf<Map, Glob>>;
  /**
   * A request to the server's API with this connection's credential: `request('GET', '/v1/session')`.
   * A token that has run out is replaced and the request made once more. Refusals are thrown as `Problem`.
   */
  request<Answer = unknown>(method: string, path: string, body?: unknown, more?: { signal?: AbortSignal; headers?: Record<string, string> }): Promise<Answer>;
  /** A command of the protocol (`chat.end` …): over the socket where there is one, else by its route. Refusals are thrown as `Problem`. */
  command<Answer = unknown>(name: string, args: Record<string, unknown>): Promise<Answer>;
  /** Tries now instead of at `retryAt`. */
  reconnect(): void;
  /** For good: forgets token, cursors and subscriptions. */
  close(): void;
}
