import { beforeEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '../src/problem';
import { presence } from '../store/presence';
import { scripted, type Scripted } from './scripted';

let server: Scripted;
const looking = (...viewers: string[]) => server.emit('chat.presence', { session_id: 's1', viewers }, { subject: 's1', id: undefined } as never);
const answer = (...subs: string[]) =>
  server.answer('GET', '*/chat/presence', { sessions: { s1: subs.map((sub) => ({ sub, since: '2026-11-21T14:22:50Z' })) } });

function begin() {
  const store = presence(server, 's1');
  const end = store.subscribe(() => undefined);
  server.ready();
  return { store, end };
}

beforeEach(() => {
  server = scripted();
  answer('ada');
});

describe('presence', () => {
  it('says what this connection looks at, again on each new connection, and that it no longer does', async () => {
    const { end } = begin();
    server.ready({ again: true });
    expect(server.commands).toEqual(Array(2).fill({ name: 'chat.view', args: { tenant: 'acme', session: 's1' } }));
    end();
    await vi.waitFor(() => expect(server.commands.at(-1)!.args).toEqual({ tenant: 'acme', session: null }));
  });

  it('tells who looks, as it was asked and as it changes', async () => {
    const { store } = begin();
    await vi.waitFor(() => expect(store.get().viewers).toEqual(['ada']));
    looking('ada', 'ben');
    expect(store.get().viewers).toEqual(['ada', 'ben']);
  });

  it('takes no answer that is older than what was told meanwhile', async () => {
    let finish!: (value: unknown) => void;
    server.answer('GET', '*/chat/presence', () => new Promise((resolve) => (finish = resolve)));
    const { store } = begin();
    await vi.waitFor(() => expect(finish).toBeTypeOf('function'));
    looking('ada', 'ben');
    finish({ sessions: {} });
    await new Promise(setImmediate);
    expect(store.get().viewers).toEqual(['ada', 'ben']);
  });

  it('says why who is no admin sees nobody', async () => {
    server.answerCommand('chat.view', () => Promise.reject(new Problem('forbidden', 'for admins', 403)));
    server.answer('GET', '*/chat/presence', () => Promise.reject(new Problem('forbidden', 'for admins', 403)));
    const { store } = begin();
    await vi.waitFor(() => expect(store.get()).toMatchObject({ viewers: [], error: { code: 'forbidden' } }));
  });
});
