/**
 * Which sessions have messages that nobody has looked at in this browser. Kept here and not on the server: what a colleague has read, somebody
 * else may still have to. What was said before the page was first used is old.
 */
import { cell, type Store } from '../../client/store/store';
import { instant, type ChatSession } from '../../client/store/session';

interface Kept {
  since: number;
  /** Until when, by session. */
  opened: Record<string, number>;
}

export interface Opened extends Store<Kept> {
  open(session: ChatSession): void;
}

/** The oldest are forgotten; they are ended by then. */
const keptMax = 500;

export function openedSessions(tenant: string, sub: string): Opened {
  const key = `tidings-chat-opened ${tenant} ${sub}`;
  const read = (): Kept | null => {
    try {
      const kept = JSON.parse(localStorage.getItem(key) ?? 'null') as Kept | null;
      return kept && typeof kept.since === 'number' && typeof kept.opened === 'object' ? kept : null;
    } catch {
      return null; // forbidden, or not ours: the page remembers as long as it is open
    }
  };
  const write = (kept: Kept) => {
    try {
      localStorage.setItem(key, JSON.stringify(kept));
    } catch {
      // As above.
    }
  };
  const heard = (event: StorageEvent) => {
    const kept = event.key === key ? read() : null;
    if (kept) state.set(kept);
  };
  const state = cell<Kept>(read() ?? { since: Date.now() * 1000, opened: {} }, () => {
    addEventListener('storage', heard);
    return () => removeEventListener('storage', heard);
  });
  write(state.get());
  return {
    get: state.get,
    subscribe: state.subscribe,
    open(session) {
      const until = instant(session.last_message_at ?? session.created_at);
      const { since, opened } = state.get();
      if ((opened[session.id] ?? 0) >= until) return;
      const entries = Object.entries({ ...opened, [session.id]: until }).sort(([, a], [, b]) => b - a).slice(0, keptMax);
      const next = { since, opened: Object.fromEntries(entries) };
      state.set(next);
      write(next);
    },
  };
}

export function isUnread(session: ChatSession, { since, opened }: Kept): boolean {
  if (session.status !== 'waiting' && session.status !== 'active') return false;
  const said = instant(session.last_message_at ?? session.created_at);
  const seen = opened[session.id];
  return seen === undefined ? session.status === 'waiting' || said > since : said > seen;
}
