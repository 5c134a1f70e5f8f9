/**
 * Who is signed in, asked of the server and kept true: again when the sign-in runs out, when the window is looked at after a while, and when
 * another window of this browser signs in or out. A server that does not answer is asked again by itself.
 */
import { Problem } from '@tidings/client';
import { cell, type Store } from '../../client/store/store';

export interface Session {
  sub: string;
  role: 'member' | 'service' | 'admin';
  /** Null: all. */
  tenants: readonly string[] | null;
  /** Epoch seconds. */
  expires_at: number;
}

export type SessionState =
  | { is: 'asking' }
  | { is: 'signed-in'; session: Session }
  /** `why`: nobody was (`never`), the sign-in ran out or was revoked (`ended`), the link had been used (`spent`), the person left (`left`). */
  | { is: 'signed-out'; why: 'never' | 'ended' | 'spent' | 'left'; signIn: string | null }
  /** `detail`: what it said; null where nothing came. */
  | { is: 'unreachable'; detail: string | null; retryAt: number };

type Request = (method: string, path: string) => Promise<unknown>;

export interface SessionStore extends Store<SessionState> {
  /** Asks now. */
  check(): Promise<void>;
  signOut(): Promise<void>;
  close(): void;
}

const RETRY_MS = 3_000;
/** A window that is looked at again asks, unless it did so a moment ago. */
const FRESH_MS = 20_000;
/** Longer timers than this end at once. */
const TIMER_MAX_MS = 2 ** 31 - 1;

export function openSession(request: Request, spent = false): SessionStore {
  const state = cell<SessionState>({ is: 'asking' });
  const others = typeof BroadcastChannel === 'undefined' ? null : new BroadcastChannel('tidings session');
  let asking: Promise<void> | null = null;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let askedAt = 0;
  let left = false;

  const again = (ms: number) => {
    clearTimeout(timer);
    timer = setTimeout(check, Math.min(ms, TIMER_MAX_MS));
  };

  async function ask() {
    askedAt = Date.now();
    clearTimeout(timer);
    try {
      const session = (await request('GET', '/v1/session')) as Session;
      const before = state.get();
      if (before.is !== 'signed-in' || JSON.stringify(before.session) !== JSON.stringify(session)) state.set({ is: 'signed-in', session });
      left = false;
      again(Math.max(1_000, session.expires_at * 1_000 - Date.now() + 500));
    } catch (refusal) {
      const problem = refusal instanceof Problem ? refusal : null;
      if (problem?.status === 401) return signedOut();
      // Whoever is signed in stays so while the server is away: the page shows what it knows.
      const wait = problem?.retryAfterMs ?? RETRY_MS;
      if (state.get().is !== 'signed-in') state.set({ is: 'unreachable', detail: problem?.status ? problem.detail : null, retryAt: Date.now() + wait });
      again(wait);
    }
  }

  async function signedOut() {
    const before = state.get();
    const why = left ? 'left' : before.is === 'signed-in' ? 'ended' : before.is === 'signed-out' ? before.why : spent ? 'spent' : 'never';
    const { url } = ((await request('GET', '/v1/sign-in').catch(() => null)) ?? { url: null }) as { url: string | null };
    state.set({ is: 'signed-out', why, signIn: url });
  }

  function check(): Promise<void> {
    return (asking ??= ask().finally(() => (asking = null)));
  }

  const looked = () => {
    if (document.visibilityState === 'visible' && Date.now() - askedAt > (state.get().is === 'signed-in' ? FRESH_MS : 1_000)) void check();
  };
  const online = () => void check();
  globalThis.document?.addEventListener('visibilitychange', looked);
  globalThis.addEventListener?.('online', online);
  if (others) others.onmessage = () => void check();

  return {
    get: state.get,
    subscribe: state.subscribe,
    check,
    async signOut() {
      await request('DELETE', '/v1/session');
      left = true;
      others?.postMessage('left');
      await (asking ?? Promise.resolve());
      await check();
    },
    close() {
      clearTimeout(timer);
      others?.close();
      globalThis.document?.removeEventListener('visibilitychange', looked);
      globalThis.removeEventListener?.('online', online);
    },
  };
}
