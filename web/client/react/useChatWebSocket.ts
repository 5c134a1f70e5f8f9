import { useEffect, useMemo, useRef } from 'react';
import type { Connection } from '../src/connection';
import type { Problem } from '../src/problem';
import type { ChatMetrics, ChatSession } from '../store/session';
import { chatSessions } from '../store/sessions';
import { useConnection } from './useConnection';
import { useStore } from './useStore';

export interface ChatWebSocketOptions {
  /** The newest sessions, whenever one of them has changed; the first time when they are there. */
  onSessionUpdate?: (sessions: readonly ChatSession[]) => void;
  onMetricsUpdate?: (metrics: ChatMetrics) => void;
  /** Where the connection names none. */
  tenant?: string;
  /** How many sessions are kept. */
  limit?: number;
  connection?: Connection;
}

export interface ChatWebSocket {
  isConnected: boolean;
  /** Why the sessions cannot be had. */
  error: Problem | null;
}

/**
 * Calls back with the chat sessions of a tenant, for its admins, and with the metrics, as they change; nothing is polled. For a component that
 * keeps both in its own state; `useChatSessions` keeps them for it.
 *
 * ```tsx
 * const { isConnected } = useChatWebSocket({ onSessionUpdate: setSessions, onMetricsUpdate: setMetrics });
 * ```
 */
export function useChatWebSocket({ onSessionUpdate, onMetricsUpdate, tenant, limit, connection: given }: ChatWebSocketOptions): ChatWebSocket {
  const { connection, isConnected } = useConnection(given);
  const store = useMemo(
    () => chatSessions(connection, { view: { status: 'all' }, ...(tenant !== undefined && { tenant }), ...(limit !== undefined && { limit }) }),
    [connection, tenant, limit],
  );
  const { sessions, metrics, isLoading, problem } = useStore(store);

  const latest = useRef({ onSessionUpdate, onMetricsUpdate });
  useEffect(() => {
    latest.current = { onSessionUpdate, onMetricsUpdate };
  });
  const isThere = !isLoading && problem === null;
  useEffect(() => {
    if (isThere) latest.current.onSessionUpdate?.(sessions);
  }, [sessions, isThere]);
  useEffect(() => {
    if (metrics) latest.current.onMetricsUpdate?.(metrics);
  }, [metrics]);

  return { isConnected, error: problem };
}
