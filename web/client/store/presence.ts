import type { Connection, Subscription } from '../src/connection';
import type { TidingsEvent } from '../src/event';
import type { Problem } from '../src/problem';
import { passing, problemOf } from './refusal';
import { cell, type Store } from './store';

/** Who looks at a chat session, for admins. While somebody listens, this connection is said to look at it too. */
export interface PresenceState {
  /** Their `sub`s, oneself included; who came first stands first. */
  readonly viewers: readonly string[];
  readonly error: Problem | null;
}

export function presence(connection: Connection, session: string, tenant = connection.tenant ?? ''): Store<PresenceState> {
  const store = cell<PresenceState>({ viewers: [], error: null }, begin);
  let subscription: Subscription | null = null;
  // Events of presence have no cursor, so an answer that was asked for before one came is older than it.
  let heard = 0;

  function begin(): () => void {
    subscription = connection.subscribe(
      { types: ['chat.presence'], subject: session, tenant },
      {
        event(event) {
          heard += 1;
          store.set({ viewers: (event as TidingsEvent<'chat.presence', { viewers: string[] }>).data.viewers, error: null });
        },
        // A view belongs to a connection, so each new one says it again; and what was live only may have been missed.
        ready: () => void look(session).then(ask),
        reset: () => void ask(),
        error: (error) => store.set({ ...store.get(), error }),
      },
    );
    return () => {
      subscription?.close();
      subscription = null;
      void look(null);
    };
  }

  async function look(at: string | null): Promise<void> {
    await connection.command('chat.view', { tenant, session: at }).catch((thrown: unknown) => {
      const error = problemOf(thrown);
      if (subscription && !passing(error)) store.set({ ...store.get(), error });
    });
  }

  async function ask(): Promise<void> {
    const before = heard;
    try {
      const answer = await connection.request<{ sessions: Record<string, { sub: string }[]> }>('GET', `/v1/tenants/${encodeURIComponent(tenant)}/chat/presence`);
      if (heard === before && subscription) store.set({ viewers: [...new Set((answer.sessions[session] ?? []).map(({ sub }) => sub))], error: null });
    } catch (thrown) {
      if (subscription) store.set({ ...store.get(), error: problemOf(thrown) });
    }
  }

  return store;
}
