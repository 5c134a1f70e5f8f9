import { useCallback, useContext, useSyncExternalStore } from 'react';
import type { Connection, Status } from '../src/connection';
import { ConnectionContext } from './TidingsProvider';

export interface UsedConnection {
  connection: Connection;
  status: Status;
  /** Events arrive: pushed, or asked for. */
  isConnected: boolean;
  /** Tries now instead of at `status.retryAt`. */
  reconnect: () => void;
}

/** On a server, and in the first render of a page that came from one: nothing is known yet. */
export const unknown: Status = Object.freeze({ state: 'connecting', transport: null, reason: null, retryAt: null, since: 0, shared: false, leads: false });

/**
 * The connection of the `TidingsProvider` above, and how it is. Renders again when that changes.
 *
 * ```tsx
 * const { status, reconnect } = useConnection();
 * return status.state === 'connected' ? <App /> : <button onClick={reconnect}>Try again</button>;
 * ```
 */
export function useConnection(connection?: Connection): UsedConnection {
  const used = useGivenConnection(connection);
  const status = useStatus(used);
  return { connection: used, status, isConnected: isConnected(status), reconnect: useCallback(() => used.reconnect(), [used]) };
}

/** The one given, or the provider's. */
export function useGivenConnection(connection?: Connection): Connection {
  const provided = useContext(ConnectionContext);
  const used = connection ?? provided;
  if (!used) throw new Error('there is no TidingsProvider above, and no connection was given');
  return used;
}

export function useStatus(connection: Connection | null): Status {
  return useSyncExternalStore(
    useCallback((listener: () => void) => connection?.onStatus(listener) ?? (() => undefined), [connection]),
    () => connection?.status ?? unknown,
    () => unknown,
  );
}

export function isConnected(status: Status): boolean {
  return status.state === 'connected' || status.state === 'polling';
}
