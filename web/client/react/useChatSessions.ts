import { useMemo } from 'react';
import type { Connection } from '../src/connection';
import type { SessionsView } from '../store/session';
import { chatSessions, type Sessions, type SessionsState } from '../store/sessions';
import { useConnection } from './useConnection';
import { useStore } from './useStore';

export interface ChatSessionsOptions {
  connection?: Connection;
  /** Where the connection names none. */
  tenant?: string;
  /** Who asks, to show an assignment before the server has answered. */
  sub?: string;
  /** What is looked at in the beginning; `store.show` changes it. Sessions that wait where it is left out. */
  view?: Partial<SessionsView>;
}

export interface ChatSessions extends SessionsState {
  isConnected: boolean;
  /** Commands, paging, and what is looked at. */
  store: Sessions;
}

/**
 * The chat sessions of a tenant, for its admins: the list of a status or a search, with counts and metrics, kept up to date.
 *
 * ```tsx
 * const { sessions, metrics, store } = useChatSessions({ view: { status: 'active' } });
 * return sessions.map((session) => <Row key={session.id} session={session} onEnd={() => store.move(session.id, 'end')} />);
 * ```
 */
export function useChatSessions({ connection: given, tenant, sub, view }: ChatSessionsOptions = {}): ChatSessions {
  const { connection, isConnected } = useConnection(given);
  // The view is that of the beginning: another object of the same content is no other list.
  const store = useMemo(
    () => chatSessions(connection, { ...(tenant !== undefined && { tenant }), ...(sub !== undefined && { sub }), ...(view && { view }) }),
    [connection, tenant, sub],
  );
  const state = useStore(store);
  return { ...state, isConnected, store };
}
