import type { Connection, Status } from '../src/connection';
import { cell, type Store } from './store';

/**
 * How a connection is, for people: beside its status, since when what is shown may be old, and what became of what was missed once it is back. A
 * subscription that no event matches hears the latter, as each subscription is told it.
 */
export interface Health {
  readonly status: Status;
  /** When what is shown was last known to be current, epoch milliseconds; null while it is, and where nothing was shown yet. */
  readonly staleSince: number | null;
  /** For some seconds after it came back: everything that was missed came, or had to be fetched again. */
  readonly after: 'caughtUp' | 'reloaded' | null;
}

/** Long enough to be read. */
const afterShown = 6_000;
/** What nobody emits. */
const noEvents = ['tidings.nothing'];
const known = new WeakMap<Connection, Store<Health>>();

/** One for each connection, however many show it. */
export function health(connection: Connection): Store<Health> {
  let made = known.get(connection);
  if (!made) known.set(connection, (made = healthOf(connection)));
  return made;
}

function healthOf(connection: Connection): Store<Health> {
  const store = cell<Health>({ status: connection.status, staleSince: null, after: null }, begin);
  let wasLive = false;
  let isReset = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  function begin(): () => void {
    notice();
    const forget = connection.onStatus(notice);
    const subscription = connection.subscribe(
      { types: noEvents },
      {
        reset() {
          isReset = true;
          tell('reloaded');
        },
        ready({ again, resumed }) {
          if (again && !isReset) tell(resumed ? 'caughtUp' : 'reloaded');
        },
      },
    );
    return () => {
      forget();
      clearTimeout(timer);
      subscription.close();
    };
  }

  function notice(): void {
    const { status } = connection;
    const isLive = status.state === 'connected' || status.state === 'polling';
    const now = store.get();
    const staleSince = isLive ? null : wasLive ? Date.now() : now.staleSince;
    if (!isLive) clearTimeout(timer);
    // A reset is told before or after the `ready` of its connection, and holds for that connection.
    if (wasLive && !isLive) isReset = false;
    store.set({ status, staleSince, after: isLive ? now.after : null });
    wasLive = isLive;
  }

  function tell(after: 'caughtUp' | 'reloaded'): void {
    clearTimeout(timer);
    store.set({ ...store.get(), after });
    timer = setTimeout(() => store.set({ ...store.get(), after: null }), afterShown);
  }

  return store;
}
