import { useCallback, useContext, useMemo } from 'react';
import type { Connection, Options } from '../src/connection';
import type { Problem } from '../src/problem';
import { watchedCase, type Case, type CaseOptions, type CaseStatus } from '../store/case';
import { cell } from '../store/store';
import type { WatchedState } from '../store/watched';
import { ConnectionContext } from './TidingsProvider';
import { isConnected, useStatus } from './useConnection';
import { useOwnConnection } from './useOwnConnection';
import { useStore } from './useStore';

export interface CaseNotificationsOptions extends CaseOptions, Pick<Options, 'url' | 'transport'> {
  /** Instead of the provider's, or of one of its own. */
  connection?: Connection;
}

export interface CaseNotifications {
  /** The row; null until it is read. */
  case: Case | null;
  /** Null until it is known. */
  status: CaseStatus | null;
  results: unknown;
  /** Why processing failed. */
  failure: Case['error'];
  /** Percent, where the table has it and while it is processing. */
  progress: number | null;
  isConnected: boolean;
  /** It is asked for now and then, since events do not arrive. */
  isPolling: boolean;
  isLoading: boolean;
  /** Why it could not be read. */
  error: Problem | null;
  retry: () => void;
}

const loading = cell<WatchedState<Case>>({ row: null, isLoading: true, isPolling: false, error: null });
const none = cell<WatchedState<Case>>({ row: null, isLoading: false, isPolling: false, error: null });

/**
 * A case and how far its processing is: pushed, or asked for where nothing can be pushed. With a token it makes a connection of its own, with null
 * it waits for one; where there is no such argument it uses the provider's.
 *
 * ```tsx
 * const { status, progress, failure, isConnected, retry } = useCaseNotifications(caseId, token);
 * ```
 */
export function useCaseNotifications(caseId: string | null | undefined, token?: string | null, options: CaseNotificationsOptions = {}): CaseNotifications {
  const provided = useContext(ConnectionContext);
  const { tenant, table, url, transport } = options;
  const own = useOwnConnection(
    token && !options.connection
      ? { getToken: () => token, ...(url !== undefined && { url }), ...(transport !== undefined && { transport }), ...(tenant !== undefined && { tenant }) }
      : null,
    token ?? '',
  );
  const connection = options.connection ?? (token === undefined ? provided : own);
  if (!connection && token === undefined) throw new Error('useCaseNotifications needs a token, a connection, or a TidingsProvider above');

  const store = useMemo(
    () => (connection && caseId ? watchedCase(connection, caseId, { ...(tenant !== undefined && { tenant }), ...(table !== undefined && { table }) }) : null),
    [connection, caseId, tenant, table],
  );
  const { row, isLoading, isPolling, error } = useStore<WatchedState<Case>>(store ?? (caseId ? loading : none));
  return {
    ...shown(row),
    isConnected: isConnected(useStatus(connection)),
    isPolling,
    isLoading,
    error,
    retry: useCallback(() => void store?.retry(), [store]),
  };
}

function shown(row: Case | null) {
  return {
    case: row,
    status: row?.status ?? null,
    results: row?.results ?? null,
    failure: row?.error ?? null,
    progress: row?.status === 'processing' ? (row.progress ?? null) : null,
  };
}
