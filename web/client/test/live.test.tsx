// @vitest-environment happy-dom
// @vitest-environment-options { "settings": { "fetch": { "disableSameOriginPolicy": true } } }
/** The hooks and the real binary. */
import { act, cleanup, renderHook } from '@testing-library/react';
import { StrictMode, type ReactNode } from 'react';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { createApp } from 'vue';
import WebSocketOfNode from 'ws';
import { TidingsProvider } from '../react/TidingsProvider';
import { useCaseNotifications } from '../react/useCaseNotifications';
import { useChat } from '../react/useChat';
import { useChatWebSocket } from '../react/useChatWebSocket';
import { useConnection } from '../react/useConnection';
import { usePresence } from '../react/usePresence';
import { useSSE } from '../react/useSSE';
import { connect } from '../src';
import type { Connection, Options } from '../src/connection';
import { useCaseNotifications as useCaseNotificationsVue } from '../vue/useCaseNotifications';
import { serve, type Server } from './server';

let server: Server;
let admin: string;
let ann: string;
const open: Connection[] = [];
vi.setConfig({ testTimeout: 30_000 });
beforeAll(async () => {
  // The one of happy-dom sends an Origin that no server allows.
  vi.stubGlobal('WebSocket', WebSocketOfNode);
  server = await serve();
  [admin, ann] = await Promise.all([server.mint({ sub: 'ada', tenant: 'acme', role: 'admin' }), server.mint({ sub: 'ann', tenant: 'acme' })]);
}, 120_000);
afterEach(() => {
  cleanup();
  for (const connection of open.splice(0)) connection.close();
});
afterAll(() => server?.stop());

const options = (token: string): Options => ({
  url: server.url,
  tenant: 'acme',
  getToken: () => token,
  share: false,
});
/** A page of somebody, in StrictMode, with a provider that makes the connection. */
const page =
  (token: string) =>
  ({ children }: { children: ReactNode }) => (
    <StrictMode>
      <TidingsProvider {...options(token)}>{children}</TidingsProvider>
    </StrictMode>
  );
const asked = (token: string) => {
  const connection = connect(options(token));
  open.push(connection);
  return connection;
};
const until = (check: () => void) => vi.waitFor(check, { timeout: 20_000, interval: 20 });
const post = <Answer,>(token: string, path: string, body: unknown) => asked(token).request<Answer>('POST', `/v1/tenants/acme/${path}`, body);

describe('a provider', () => {
  it('makes one connection in StrictMode, and closes it when it goes', async () => {
    const strict = await server.mint({ sub: 'strict', tenant: 'acme', role: 'admin' });
    const { result, unmount } = renderHook(() => (useSSE({ subscriptions: ['one.*'] }), useSSE({ subscriptions: ['two.*'] }), useConnection()), { wrapper: page(strict) });
    await until(() => expect(result.current.status.state).toBe('connected'));
    const connections = async () => {
      const stats = await asked(admin).request<{ connections: { sub: string }[] }>('GET', '/v1/stats');
      return stats.connections.filter(({ sub }) => sub === 'strict').length;
    };
    expect(await connections()).toBe(1);
    const { connection } = result.current;
    unmount();
    await until(() => expect(connection.status.state).toBe('closed'));
    await vi.waitFor(async () => expect(await connections()).toBe(0), { timeout: 20_000 });
  });
});

describe('useSSE', () => {
  it('shows what is published', async () => {
    const { result } = renderHook(() => useSSE({ subscriptions: ['hooks.*'], organizationId: 'acme' }), { wrapper: page(admin) });
    await until(() => expect(result.current.isConnected).toBe(true));
    // Connected is not yet subscribed: the first one may be too early.
    await vi.waitFor(
      async () => {
        await post(admin, 'events', { type: 'hooks.said', subject: 's', data: { text: 'Hello' } });
        expect(result.current.latest).toMatchObject({ type: 'hooks.said', tenant: 'acme', data: { text: 'Hello' } });
      },
      { timeout: 20_000, interval: 100 },
    );
  });
});

describe('useChat', () => {
  it('shows what is sent at once, and the answer while it is written, then as it is kept', async () => {
    const { id } = await post<{ id: string }>(ann, 'chat/sessions', { subject: 'Invoices' });
    const seen = new Set<string>();
    const { result, unmount } = renderHook(
      () => {
        const chat = useChat(id);
        for (const { role, content } of chat.messages) if (role === 'assistant') seen.add(content);
        return chat;
      },
      { wrapper: page(ann) },
    );
    await until(() => expect(result.current).toMatchObject({ isLoading: false, isConnected: true, isOpen: true, error: null }));
    const sending = act(() => result.current.sendMessage('One two three four five six seven eight nine ten'));
    await sending;
    const answer = () => result.current.messages.find(({ role, content }) => role === 'assistant' && content.includes('nine ten'));
    await until(() => expect(answer()).toMatchObject({ status: 'sent' }));
    const whole = answer()!.content;
    // Some of it was there before all of it was.
    expect([...seen].filter((text) => text && text !== whole && whole.startsWith(text)).length).toBeGreaterThan(0);
    expect(result.current.isTyping).toBe(false);
    const before = result.current.messages.map((message) => message.id);
    expect(new Set(before).size).toBe(before.length);
    unmount();

    const again = renderHook(() => useChat(id), { wrapper: page(ann) });
    await until(() => expect(again.result.current.messages.map((message) => message.id)).toEqual(before));
  });

  it('takes a message back that the server refuses', async () => {
    const { id } = await post<{ id: string }>(ann, 'chat/sessions', {});
    const { result } = renderHook(() => useChat(id), { wrapper: page(ann) });
    await until(() => expect(result.current.isOpen).toBe(true));
    await asked(admin).command('chat.end', { tenant: 'acme', session: id });
    await until(() => expect(result.current.isOpen).toBe(false));
    await act(() => result.current.sendMessage('Still there?'));
    expect(result.current.error?.code).toBe('conflict');
    expect(result.current.messages.filter(({ content }) => content === 'Still there?')).toEqual([]);
  });
});

describe('useCaseNotifications', () => {
  // The tables of the demo: its chat sessions stand in for cases.
  const made = () => post<{ id: string }>(ann, 'chat/sessions', {});
  const table = 'chat_sessions';

  it.each(['websocket', 'sse', 'poll'] as const)('follows a row of a watched table over %s, with a token of its own', async (transport) => {
    const { id } = await made();
    const { result } = renderHook(() => useCaseNotifications(id, ann, { url: server.url, table, transport }), { wrapper: StrictMode });
    await until(() => expect(result.current).toMatchObject({ status: 'waiting', isConnected: true }));
    await asked(admin).command('chat.end', { tenant: 'acme', session: id });
    await until(() => expect(result.current).toMatchObject({ status: 'ended', error: null, isPolling: false }));
  });

  it('asks for the row where nothing can be pushed, and says so', async () => {
    class Blocked extends EventTarget {
      constructor() {
        super();
        queueMicrotask(() => this.close());
      }
      close() {
        for (const name of ['error', 'close'] as const) {
          const event = new Event(name);
          this.dispatchEvent(event);
          (this as unknown as Record<string, ((event: Event) => void) | undefined>)[`on${name}`]?.(event);
        }
      }
      send() {}
    }
    vi.stubGlobal('WebSocket', Blocked);
    const { id } = await made();
    const { result } = renderHook(() => useCaseNotifications(id, ann, { url: server.url, table, transport: 'websocket' }), { wrapper: StrictMode });
    vi.stubGlobal('WebSocket', WebSocketOfNode);
    await until(() => expect(result.current).toMatchObject({ status: 'waiting', isConnected: false, isPolling: true }));
    await asked(admin).command('chat.end', { tenant: 'acme', session: id });
    await until(() => expect(result.current).toMatchObject({ status: 'ended', error: null }));
  });

  it('of Vue does so too, and closes its connection with the component', async () => {
    const { id } = await made();
    let used!: ReturnType<typeof useCaseNotificationsVue>;
    const app = createApp({ setup: () => ((used = useCaseNotificationsVue(id, ann, { url: server.url, table, transport: 'poll' })), () => null) });
    app.mount(document.createElement('div'));
    await until(() => expect(used.case.value).toMatchObject({ id }));
    await until(() => expect(used.isConnected.value).toBe(true));
    app.unmount();
  });
});

describe('for admins', () => {
  it('a connection stands in the statistics under the name that it gives itself', async () => {
    const connection = connect({ ...options(ann), clientName: 'inbox 2.1' });
    open.push(connection);
    await connection.subscribe({}).ready;
    const { connections } = await asked(admin).request<{ connections: { client: string | null; sub: string }[] }>('GET', '/v1/stats');
    expect(connections).toContainEqual(expect.objectContaining({ client: 'inbox 2.1', sub: 'ann' }));
  });

  it('useChatWebSocket calls back with a session that is made, and with metrics', async () => {
    let subjects: (string | null)[] = [];
    let waiting = -1;
    const { result } = renderHook(
      () => useChatWebSocket({ onSessionUpdate: (all) => (subjects = all.map(({ subject }) => subject)), onMetricsUpdate: (now) => (waiting = now.sessions.waiting) }),
      { wrapper: page(admin) },
    );
    await until(() => expect(waiting).toBeGreaterThanOrEqual(0));
    await post(ann, 'chat/sessions', { subject: 'Made just now' });
    await until(() => expect(subjects[0]).toBe('Made just now'));
    expect(result.current).toEqual({ isConnected: true, error: null });
  });

  it('usePresence tells each of two who the other is, until one goes', async () => {
    const { id } = await post<{ id: string }>(ann, 'chat/sessions', {});
    const ben = await server.mint({ sub: 'ben', tenant: 'acme', role: 'admin' });
    const one = renderHook(() => usePresence(id), { wrapper: page(admin) });
    const other = renderHook(() => usePresence(id), { wrapper: page(ben) });
    await until(() => expect([...one.result.current.viewers].sort()).toEqual(['ada', 'ben']));
    await until(() => expect([...other.result.current.viewers].sort()).toEqual(['ada', 'ben']));
    other.unmount();
    await until(() => expect(one.result.current.viewers).toEqual(['ada']));
  });
});
