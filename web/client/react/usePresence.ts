import { useMemo } from 'react';
import type { Connection } from '../src/connection';
import { presence, type PresenceState } from '../store/presence';
import { cell } from '../store/store';
import { useGivenConnection } from './useConnection';
import { useStore } from './useStore';

const nobody = cell<PresenceState>({ viewers: [], error: null });

/**
 * Says that this admin looks at a session, and tells who else does. Null: at none.
 *
 * ```tsx
 * const { viewers } = usePresence(session.id);
 * const others = viewers.filter((sub) => sub !== me);
 * ```
 */
export function usePresence(sessionId: string | null | undefined, { tenant, connection }: { tenant?: string; connection?: Connection } = {}): PresenceState {
  const used = useGivenConnection(connection);
  const store = useMemo(() => (sessionId ? presence(used, sessionId, tenant) : nobody), [used, sessionId, tenant]);
  return useStore(store);
}
