import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '@tidings/client';
import { openSession, type SessionState, type SessionStore } from '../shell/session';

const ann = { sub: 'ann', role: 'member' as const, tenants: ['acme'], expires_at: 0 };
const refused = new Problem('token_missing', 'no credential', 401);

describe('the session', () => {
  let store: SessionStore;
  let answer: () => unknown;
  const asked = vi.fn();
  const open = (spent = false) => {
    store = openSession(async (method, path) => {
      asked(`${method} ${path}`);
      if (path === '/v1/sign-in') return { url: 'https://app.example/sign-in?to={page}' };
      if (method === 'DELETE') { answer = () => { throw refused; }; return null; }
      return answer();
    }, spent);
    return store.check();
  };
  const why = () => (store.get() as Extract<SessionState, { is: 'signed-out' }>).why;

  beforeEach(() => {
    vi.useFakeTimers({ now: 1_000_000 });
    asked.mockClear();
    answer = () => ({ ...ann, expires_at: 2_000 });
  });
  afterEach(() => {
    store.close();
    vi.useRealTimers();
  });

  it('is who the server says', async () => {
    await open();
    expect(store.get()).toEqual({ is: 'signed-in', session: { ...ann, expires_at: 2_000 } });
  });

  it('says where to sign in when nobody is, and whether the link had been used', async () => {
    answer = () => { throw refused; };
    await open(true);
    expect(store.get()).toEqual({ is: 'signed-out', why: 'spent', signIn: 'https://app.example/sign-in?to={page}' });
  });

  it('ends when the sign-in runs out', async () => {
    await open();
    answer = () => { throw refused; };
    await vi.advanceTimersByTimeAsync(1_000_000 + 500);
    expect(why()).toBe('ended');
  });

  it('keeps who is signed in while the server is away', async () => {
    await open();
    answer = () => { throw new Problem('unreachable', 'no answer'); };
    await store.check();
    expect(store.get().is).toBe('signed-in');
  });

  it('asks a server that does not answer again by itself', async () => {
    answer = () => { throw new Problem('draining', 'ending', 503, null, null, 7_000); };
    await open();
    expect(store.get()).toEqual({ is: 'unreachable', detail: 'ending', retryAt: 1_007_000 });
    answer = () => ({ ...ann, expires_at: 2_000 });
    await vi.advanceTimersByTimeAsync(7_000);
    expect(store.get().is).toBe('signed-in');
  });

  it('says that the person left, not that the session broke', async () => {
    await open();
    await store.signOut();
    expect(why()).toBe('left');
    expect(asked).toHaveBeenCalledWith('DELETE /v1/session');
  });

  it('stays signed in when the sign-out did not reach the server', async () => {
    store = openSession(async (method) => {
      if (method === 'DELETE') throw new Problem('unreachable', 'no answer');
      return { ...ann, expires_at: 2_000 };
    });
    await store.check();
    await expect(store.signOut()).rejects.toThrow('unreachable');
    expect(store.get().is).toBe('signed-in');
  });

  it('asks once however many want to know', async () => {
    await Promise.all([open(), store.check(), store.check()]);
    expect(asked).toHaveBeenCalledTimes(1);
  });
});
