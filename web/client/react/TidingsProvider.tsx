import { createContext, useMemo, type ReactElement, type ReactNode } from 'react';
import type { Connection, Options } from '../src/connection';
import { useOwnConnection } from './useOwnConnection';

/** Null: no provider above. */
export const ConnectionContext = createContext<Connection | null>(null);

export type TidingsProviderProps = { children?: ReactNode } & ({ connection: Connection } | ({ connection?: undefined } & Options));

/**
 * Gives the components below one connection: yours, which stays yours to close, or one that it makes of its options and closes when it goes.
 *
 * ```tsx
 * <TidingsProvider url="https://events.example.com" tenant="acme" getToken={fetchToken}>
 *   <App />
 * </TidingsProvider>
 * ```
 *
 * Pass a `key` of who is signed in, so that the next user gets a connection of their own.
 */
export function TidingsProvider({ children, ...props }: TidingsProviderProps): ReactElement {
  const own = useOwnConnection(props.connection ? null : (props as Options));
  const connection = props.connection ?? own;
  // While options have just changed there is none, for one render: what is below is then made anew for the next one.
  const shown = useMemo(() => connection && <ConnectionContext.Provider value={connection}>{children}</ConnectionContext.Provider>, [connection, children]);
  return <>{shown}</>;
}
