import type { Connection, Filter, Handlers, Ready, Status, Subscription } from '../src/connection';
import type { AnyEvents, TidingsEvent } from '../src/event';
import { Problem } from '../src/problem';

/**
 * A connection that does what a test says: it keeps what was subscribed to and asked for, and the test plays the server. Answers are given by
 * route; what has no answer is 404, as on the server.
 */
export interface Scripted extends Connection {
  readonly subscriptions: readonly ScriptedSubscription[];
  readonly requests: readonly Asked[];
  readonly commands: readonly { name: string; args: Record<string, unknown> }[];
  readonly closed: boolean;
  /** How often `reconnect` was called. */
  readonly reconnects: number;
  /** What a route answers: a value, or what a function returns, throws or promises. `*` in the path stands for anything; the last one given wins. */
  answer(method: string, path: string, answer: unknown | ((asked: Asked) => unknown)): void;
  /** The same for a command; without it, a command succeeds with null. */
  answerCommand(name: string, answer: (args: Record<string, unknown>) => unknown): void;
  /** An event as the server would send it, handed to all subscriptions that match; returns it. */
  emit(type: string, data: unknown, more?: Partial<TidingsEvent>): TidingsEvent;
  setStatus(change: Partial<Status>): void;
  /** `ready` for all, as after each (re)connect. */
  ready(ready?: Partial<Ready>): void;
  /** What was missed cannot be told. */
  reset(reason?: string): void;
}

export interface Asked {
  method: string;
  path: string;
  query: URLSearchParams;
  body: unknown;
  signal: AbortSignal | undefined;
}

export interface ScriptedSubscription {
  filter: Filter;
  handlers: Handlers<TidingsEvent>;
  /** Ends it with a refusal. */
  refuse(problem: Problem): void;
}

export function scripted({ tenant = 'acme' }: { tenant?: string | null } = {}): Scripted {
  const open: (ScriptedSubscription & { cursor: string | null; push(event: TidingsEvent): void; settle(ready: Ready): void })[] = [];
  const requests: Asked[] = [];
  const commands: { name: string; args: Record<string, unknown> }[] = [];
  const answers: { method: string; path: RegExp; answer: unknown }[] = [];
  const commandAnswers = new Map<string, (args: Record<string, unknown>) => unknown>();
  const listeners = new Set<(status: Status) => void>();
  let status: Status = { state: 'connected', transport: 'websocket', reason: null, retryAt: null, since: 0, shared: false } as Status;
  let closed = false;
  let reconnects = 0;
  let last = 0;

  const matching = (event: TidingsEvent) =>
    open.filter(
      ({ filter }) =>
        (!filter.types || filter.types.some((glob) => globbed(glob).test(event.type))) &&
        (filter.subject === undefined || filter.subject === event.subject) &&
        (filter.tenant ?? tenant ?? event.tenant) === event.tenant,
    );

  const subscribe = (filter: Filter, handlers: Handlers<TidingsEvent> = {}): Subscription<TidingsEvent> => {
    const waiting: TidingsEvent[] = [];
    let wake: (() => void) | null = null;
    let ended = false;
    let settle!: (ready: Ready) => void;
    let fail!: (problem: Problem) => void;
    const ready = new Promise<Ready>((resolve, reject) => ((settle = resolve), (fail = reject)));
    ready.catch(() => undefined);
    const close = () => {
      ended = true;
      const index = open.indexOf(entry);
      if (index >= 0) open.splice(index, 1);
      wake?.();
    };
    const entry: (typeof open)[number] = {
      filter,
      handlers,
      cursor: filter.after ?? null,
      settle,
      push(event) {
        if (event.id !== undefined) entry.cursor = event.id;
        waiting.push(event);
        handlers.event?.(event);
        wake?.();
      },
      refuse(problem) {
        close();
        fail(problem);
        handlers.error?.(problem);
      },
    };
    open.push(entry);
    filter.signal?.addEventListener('abort', close);
    return {
      get cursor() {
        return entry.cursor;
      },
      ready,
      close,
      [Symbol.dispose]: close,
      async *[Symbol.asyncIterator]() {
        while (!ended || waiting.length) {
          const event = waiting.shift();
          if (event) yield event;
          else await new Promise<void>((resolve) => (wake = resolve));
        }
      },
    };
  };

  const connection: Scripted = {
    url: 'http://tidings.test',
    tenant,
    get status() {
      return status;
    },
    onStatus(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    subscribe: subscribe as Connection<AnyEvents>['subscribe'],
    async request<Answer>(method: string, path: string, body?: unknown, more?: { signal?: AbortSignal }) {
      const url = new URL(path, connection.url);
      const asked: Asked = { method, path: url.pathname, query: url.searchParams, body, signal: more?.signal };
      requests.push(asked);
      await Promise.resolve();
      const found = answers.findLast((entry) => entry.method === method && entry.path.test(url.pathname));
      if (!found) throw new Problem('not_found', `nothing is scripted for ${method} ${url.pathname}`, 404);
      const answer: unknown = await (typeof found.answer === 'function' ? found.answer(asked) : found.answer);
      if (more?.signal?.aborted) throw more.signal.reason;
      return answer as Answer;
    },
    async command<Answer>(name: string, args: Record<string, unknown>) {
      commands.push({ name, args });
      await Promise.resolve();
      return ((await commandAnswers.get(name)?.(args)) ?? null) as Answer;
    },
    reconnect() {
      reconnects += 1;
    },
    close() {
      closed = true;
      for (const entry of [...open]) entry.refuse(new Problem('closed', 'the connection was closed'));
      connection.setStatus({ state: 'closed', reason: 'closed', transport: null });
    },
    get closed() {
      return closed;
    },
    get reconnects() {
      return reconnects;
    },
    subscriptions: open,
    requests,
    commands,
    answer(method, path, answer) {
      answers.push({ method, path: globbed(path), answer });
    },
    answerCommand(name, answer) {
      commandAnswers.set(name, answer);
    },
    emit(type, data, more = {}) {
      last += 1;
      const event: TidingsEvent = {
        specversion: '1.0',
        id: `e${last}`,
        source: '/test',
        type,
        time: '2026-11-20T14:57:31.418752Z',
        tenant: tenant ?? 'acme',
        data,
        ...more,
      };
      // As on the wire: what is live only has no id.
      if ('id' in more && more.id === undefined) delete event.id;
      for (const entry of matching(event)) entry.push(event);
      return event;
    },
    setStatus(change) {
      status = { ...status, ...change };
      for (const listener of [...listeners]) listener(status);
    },
    ready(ready = {}) {
      for (const entry of [...open]) {
        const full = { cursor: entry.cursor ?? `c${last}`, resumed: true, again: false, ...ready };
        entry.cursor ??= full.cursor;
        entry.settle(full);
        entry.handlers.ready?.(full);
      }
    },
    reset(reason = 'cursor_unknown') {
      for (const entry of [...open]) {
        entry.cursor = `reset${last}`;
        entry.handlers.reset?.({ reason, cursor: entry.cursor });
      }
    },
  };
  return connection;
}

function globbed(glob: string): RegExp {
  return new RegExp(`^${glob.replace(/[.+?^${}()|[\]\\]/g, '\\$&').replaceAll('*', '.*')}$`);
}
