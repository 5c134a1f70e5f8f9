import type { Connection, Subscription } from '../src/connection';
import type { TidingsEvent } from '../src/event';
import type { Problem } from '../src/problem';
import { passing, problemOf } from './refusal';
import { cell, type Store } from './store';

/**
 * One row of a watched table as it is now, for tables that nothing in the package was written for. Read once, then kept by events from the cursor of
 * that reading. While events do not arrive (no connection yet, or the subscription was refused) the row is asked for as often as the server says.
 */
export interface Watched<Row> extends Store<WatchedState<Row>> {
  /** Reads it again, now. */
  retry(): Promise<void>;
}

export interface WatchedState<Row> {
  /** Null: not read yet, not there, or not the reader's. */
  readonly row: Row | null;
  readonly isLoading: boolean;
  /** It is asked for, since events do not arrive. */
  readonly isPolling: boolean;
  /** Of the last reading; null again when one succeeds. */
  readonly error: Problem | null;
}

export interface WatchedOptions<Row> {
  /** Where the connection names none: known, or to be found out. */
  tenant?: string | (() => Promise<string>);
  /** When to ask again, in milliseconds, 0 for never; the server's own advice where it is left out. */
  pollAfter?: (row: Row, advised: number) => number;
}

interface Answer<Row> {
  cursor: string;
  data: Row;
  poll_after_ms: number;
}

const retryMs = { first: 1_000, last: 30_000 };

export function watched<Row>(connection: Connection, table: string, key: string, { tenant: given, pollAfter = (_row, advised) => advised }: WatchedOptions<Row> = {}): Watched<Row> {
  const store = cell<WatchedState<Row>>({ row: null, isLoading: true, isPolling: false, error: null }, begin);
  let tenant = typeof given === 'string' ? given : connection.tenant;
  let subscription: Subscription | null = null;
  let cursor: string | null = null;
  /** The subscription was refused: there is only asking. */
  let isRefused = false;
  let advised = 5_000;
  let failures = 0;
  let isWaiting = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let reading: AbortController | null = null;

  const patch = (change: Partial<WatchedState<Row>>) => store.set({ ...store.get(), ...change });

  function begin(): () => void {
    const forget = connection.onStatus(plan);
    if (cursor === null) void read();
    else listen(cursor);
    return () => {
      forget();
      reading?.abort();
      clearTimeout(timer);
      cursor = subscription?.cursor ?? cursor;
      subscription?.close();
      subscription = null;
    };
  }

  async function read(): Promise<void> {
    reading?.abort();
    clearTimeout(timer);
    isWaiting = false;
    const { signal } = (reading = new AbortController());
    try {
      tenant ??= typeof given === 'function' ? await given() : null;
      const path = `/v1/tenants/${encodeURIComponent(tenant ?? '')}/watched/${encodeURIComponent(table)}/${encodeURIComponent(key)}`;
      const answer = await connection.request<Answer<Row>>('GET', path, undefined, { signal });
      if (signal.aborted) return;
      failures = 0;
      cursor = answer.cursor;
      advised = answer.poll_after_ms;
      patch({ row: answer.data, isLoading: false, error: null });
      listen(cursor);
    } catch (thrown) {
      if (signal.aborted) return;
      const error = problemOf(thrown);
      // What is not there may still be made: whoever has its key waits for it.
      const isMissing = error.code === 'no_row';
      patch({ isLoading: false, error, isPolling: isMissing, ...(isMissing && { row: null }) });
      if (isMissing) timer = setTimeout(() => void read(), advised);
      isWaiting = !isMissing && passing(error);
      if (isWaiting) timer = setTimeout(() => void read(), error.retryAfterMs ?? Math.min(retryMs.first * 2 ** failures++, retryMs.last));
    }
  }

  /** Anew after each reading: what is in the row must not come again, older than the row. */
  function listen(after: string): void {
    subscription?.close();
    subscription = null;
    if (!isRefused) {
      subscription = connection.subscribe(
        { types: [`${table}.*`], subject: key, after, ...(tenant !== null && { tenant }) },
        {
          event: (event) => take(event as TidingsEvent<string, Row>),
          reset: () => void read(),
          error() {
            isRefused = true;
            subscription = null;
            plan();
          },
        },
      );
    }
    plan();
  }

  function take({ type, data, truncated }: TidingsEvent<string, Row>): void {
    if (truncated) void read();
    else patch({ row: type.endsWith('.deleted') ? null : data, error: null });
  }

  /** Asks again later, unless events arrive. Without a network nobody would answer; the connection says when it is back. */
  function plan(): void {
    const { state } = connection.status;
    const { row, error } = store.get();
    const isConnected = state === 'connected' || state === 'polling';
    // Then a reading is planned already, and need not wait once the server is there; or it waits for `retry`.
    if (error) {
      if (isWaiting && isConnected) void read();
      return;
    }
    const isPushed = !isRefused && isConnected;
    const wait = row === null ? advised : pollAfter(row, advised);
    const isPolling = !isPushed && state !== 'offline' && state !== 'closed' && cursor !== null && wait > 0;
    if (isPolling !== store.get().isPolling) patch({ isPolling });
    clearTimeout(timer);
    if (isPolling) timer = setTimeout(() => void read(), wait);
  }

  return { get: store.get, subscribe: store.subscribe, retry: () => (patch({ error: null, isLoading: store.get().row === null }), read()) };
}
