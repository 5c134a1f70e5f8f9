/**
 * Whether the page is cut off, since when, and what came when it was back. A connection counts neither, since only whoever shows something to a
 * person wants it: so the page's connection is looked through here.
 */
import type { Connection, Handlers, Status, Subscription } from '@tidings/client';
import { cell, type Store } from '../../client/store/store';

export type Outage =
  | null
  /** `since`: what is shown was true then; null where nothing was ever shown. */
  | { is: 'away'; since: number | null; retryAt: number | null; offline: boolean }
  | { is: 'back'; caughtUp: number; reloaded: boolean };

/** A break shorter than this is nobody's concern. */
const PATIENCE_MS = 2_000;
/** What was missed comes within this after the connection is back; then it is told. */
const SETTLE_MS = 1_500;
const TOLD_MS = 6_000;

export function watchOutages(inner: Connection): { connection: Connection; outage: Store<Outage>; end(): void } {
  const outage = cell<Outage>(null);
  let goodUntil: number | null = null;
  let backAt = 0;
  let caughtUp = 0;
  let reloaded = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const live = (status: Status) => status.state === 'connected' || status.state === 'polling';
  const away = () => {
    const { state, retryAt } = inner.status;
    if (!live(inner.status)) outage.set({ is: 'away', since: goodUntil, retryAt, offline: state === 'offline' });
  };
  let wasLive = live(inner.status);
  const seen = (status: Status) => {
    const isLive = live(status);
    if (isLive && !wasLive) {
      clearTimeout(timer);
      const told = outage.get()?.is === 'away' && goodUntil !== null;
      backAt = Date.now();
      caughtUp = 0;
      reloaded = false;
      if (told) timer = setTimeout(tell, SETTLE_MS);
      else outage.set(null);
    } else if (!isLive && status.state !== 'closed') {
      if (wasLive) goodUntil = Date.now();
      if (wasLive || (goodUntil === null && outage.get() === null)) {
        clearTimeout(timer);
        timer = setTimeout(away, PATIENCE_MS);
      } else if (outage.get()?.is === 'away') away();
    } else if (status.state === 'closed') {
      clearTimeout(timer);
      outage.set(null);
    }
    wasLive = isLive;
  };
  const tell = () => {
    outage.set({ is: 'back', caughtUp, reloaded });
    timer = setTimeout(() => outage.set(null), TOLD_MS);
  };

  const connection: Connection = {
    get url() { return inner.url; },
    get tenant() { return inner.tenant; },
    get status() { return inner.status; },
    onStatus: (listener) => inner.onStatus(listener),
    subscribe(filter, handlers) {
      const counting: typeof handlers = handlers && {
        ...forwarded(handlers),
        event(event) {
          if (backAt && Date.parse((event as { time: string }).time) < backAt) caughtUp++;
          handlers.event?.(event);
        },
        reset(reset) {
          reloaded = true;
          handlers.reset?.(reset);
        },
      };
      return inner.subscribe(filter, counting) as Subscription<never>;
    },
    request: (...call) => inner.request(...call),
    command: (...call) => inner.command(...call),
    reconnect: () => inner.reconnect(),
    close: () => inner.close(),
  };
  const unlisten = inner.onStatus(seen);
  seen(inner.status);
  return {
    connection,
    outage,
    end() {
      unlisten();
      clearTimeout(timer);
    },
  };
}

/** Handlers may be methods of an object that need it. */
function forwarded<Event>(handlers: Handlers<Event>): Handlers<Event> {
  return {
    ...(handlers.ready && { ready: (ready) => handlers.ready?.(ready) }),
    ...(handlers.error && { error: (problem) => handlers.error?.(problem) }),
  };
}
