// @vitest-environment happy-dom
import { act, cleanup, render, renderHook } from '@testing-library/react';
import { StrictMode, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConnectionIndicator } from '../react/ConnectionIndicator';
import { TidingsProvider } from '../react/TidingsProvider';
import { useChat } from '../react/useChat';
import { useChatWebSocket } from '../react/useChatWebSocket';
import { useConnection } from '../react/useConnection';
import { useEvents } from '../react/useEvents';
import { useLatest } from '../react/useLatest';
import { useLocalStorage } from '../react/useLocalStorage';
import { useSSE } from '../react/useSSE';
import { useStore } from '../react/useStore';
import { Problem } from '../src/problem';
import { cell } from '../store/store';
import { scripted, type Scripted } from './scripted';

let server: Scripted;
const wrapper = ({ children }: { children: ReactNode }) => (
  <StrictMode>
    <TidingsProvider connection={server}>{children}</TidingsProvider>
  </StrictMode>
);
/** What effects have put off to a microtask is done. */
const settled = () => act(async () => undefined);

beforeEach(() => {
  server = scripted();
});
afterEach(() => {
  cleanup();
  localStorage.clear();
  vi.restoreAllMocks();
});

describe('useConnection', () => {
  it('shows each change of the status', () => {
    const { result } = renderHook(() => useConnection(), { wrapper });
    expect(result.current).toMatchObject({ connection: server, isConnected: true });
    act(() => server.setStatus({ state: 'connecting', retryAt: 5 }));
    expect(result.current).toMatchObject({ isConnected: false, status: { retryAt: 5 } });
    result.current.reconnect();
    expect(server.reconnects).toBe(1);
  });

  it('says what is missing without a provider', () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
    expect(() => renderHook(() => useConnection())).toThrow('there is no TidingsProvider above');
  });

  it('leaves a connection open that it was given', async () => {
    const { unmount } = renderHook(() => useConnection(), { wrapper });
    unmount();
    await settled();
    expect(server.closed).toBe(false);
  });
});

describe('useStore', () => {
  it('renders again only when the selected part has changed', () => {
    const store = cell({ count: 1, other: 1 });
    let renders = 0;
    const { result } = renderHook(() => {
      renders += 1;
      return useStore(store, ({ count }) => count);
    });
    act(() => store.set({ count: 1, other: 2 }));
    expect(renders).toBe(1);
    act(() => store.set({ count: 2, other: 2 }));
    expect(result.current).toBe(2);
  });

  it('takes a selector that builds a new object each time', () => {
    const store = cell({ count: 1 });
    const { result } = renderHook(() => useStore(store, ({ count }) => ({ twice: count * 2 })), { wrapper: StrictMode });
    expect(result.current).toEqual({ twice: 2 });
    act(() => store.set({ count: 2 }));
    expect(result.current).toEqual({ twice: 4 });
  });
});

describe('useEvents', () => {
  it('holds one subscription however often it renders, and calls the handler of the last render', async () => {
    const seen: string[] = [];
    const { rerender, unmount } = renderHook(({ label }) => useEvents(['documents.*'], (event) => seen.push(`${label} ${event.type}`)), {
      wrapper,
      initialProps: { label: 'first' },
    });
    rerender({ label: 'second' });
    expect(server.subscriptions).toHaveLength(1);
    server.emit('documents.updated', {});
    server.emit('chat.typing', {});
    expect(seen).toEqual(['second documents.updated']);
    unmount();
    await settled();
    expect(server.subscriptions).toHaveLength(0);
  });

  it('waits while the cursor of the list is null, and begins there once it is known', () => {
    const { rerender } = renderHook(({ after }: { after: string | null }) => useEvents('documents.*', () => undefined, { after }), {
      wrapper,
      initialProps: { after: null as string | null },
    });
    expect(server.subscriptions).toHaveLength(0);
    rerender({ after: 'c1' });
    rerender({ after: 'c2' });
    expect(server.subscriptions.map(({ filter }) => filter.after)).toEqual(['c1']);
  });

  it('tells resets and refusals', () => {
    const onReset = vi.fn();
    const onError = vi.fn();
    renderHook(() => useEvents('documents.*', () => undefined, { onReset, onError }), { wrapper });
    server.reset('history_changed');
    server.subscriptions[0]!.refuse(new Problem('forbidden', 'not yours', 403));
    expect(onReset).toHaveBeenCalledWith(expect.objectContaining({ reason: 'history_changed' }));
    expect(onError).toHaveBeenCalledWith(expect.objectContaining({ code: 'forbidden' }));
  });
});

describe('useLatest', () => {
  it('is the last event of that subject, and nothing of another one', () => {
    const { result, rerender } = renderHook(({ id }) => useLatest('invoices.paid', id)?.data, { wrapper, initialProps: { id: 'i1' } });
    expect(result.current).toBeUndefined();
    act(() => void server.emit('invoices.paid', { sum: 1 }, { subject: 'i1' }));
    act(() => void server.emit('invoices.paid', { sum: 2 }, { subject: 'i2' }));
    expect(result.current).toEqual({ sum: 1 });
    rerender({ id: 'i2' });
    expect(result.current).toBeUndefined();
  });
});

describe('useSSE', () => {
  it('keeps the last events of its types, oldest first', () => {
    const { result } = renderHook(() => useSSE({ subscriptions: ['documents.*'], limit: 2 }), { wrapper });
    act(() => {
      for (const name of ['a', 'b', 'c']) server.emit('documents.updated', { name });
      server.emit('other.updated', { name: 'd' });
    });
    expect(result.current.events.map(({ data }) => data)).toEqual([{ name: 'b' }, { name: 'c' }]);
    expect(result.current.latest?.data).toEqual({ name: 'c' });
    expect(result.current.isConnected).toBe(true);
    act(() => result.current.clear());
    expect(result.current.events).toEqual([]);
  });

  it('shows nothing of one organisation under another', () => {
    const renders: string[] = [];
    const { rerender } = renderHook(
      ({ organizationId }) => {
        const { events } = useSSE({ organizationId });
        renders.push(`${organizationId}: ${events.map(({ tenant }) => tenant).join()}`);
      },
      { wrapper, initialProps: { organizationId: 'acme' } },
    );
    act(() => void server.emit('documents.updated', {}));
    rerender({ organizationId: 'globex' });
    act(() => void server.emit('documents.updated', {}));
    act(() => void server.emit('documents.updated', {}, { tenant: 'globex' }));
    expect(new Set(renders)).toEqual(new Set(['acme: ', 'acme: acme', 'globex: ', 'globex: globex']));
  });

  it('says that something was missed, and why it was refused', () => {
    const { result } = renderHook(() => useSSE(), { wrapper });
    act(() => server.reset('cursor_unknown'));
    expect(result.current.reset?.reason).toBe('cursor_unknown');
    act(() => server.subscriptions[0]!.refuse(new Problem('forbidden', 'not yours', 403)));
    expect(result.current.error?.code).toBe('forbidden');
  });
});

describe('useChat', () => {
  const path = '/v1/tenants/acme/chat/sessions/s1/messages';
  const message = (id: string, content: string) => ({ id, content, role: 'user', status: 'sent', author: 'ann', metadata: {}, session_id: 's1', created_at: '2026-11-21T14:22:05Z', updated_at: '2026-11-21T14:22:05Z' });

  it('loads once in StrictMode, then follows, sends, and leaves nothing behind', async () => {
    server.answer('GET', path, { messages: [message('1', 'Hello')], cursor: 'c1', previous: null });
    server.answer('POST', path, (asked: { body: { id: string; content: string } }) => message(asked.body.id, asked.body.content));
    const { result, unmount } = renderHook(() => useChat('s1'), { wrapper });
    expect(result.current).toMatchObject({ isLoading: true, messages: [], isConnected: true });
    await vi.waitFor(() => expect(result.current.isLoading).toBe(false));
    expect(server.requests.filter((asked) => asked.path === path)).toHaveLength(1);
    await act(async () => void (await result.current.sendMessage('How are you?')));
    expect(result.current.messages.map(({ content }) => content)).toEqual(['Hello', 'How are you?']);
    unmount();
    await settled();
    expect(server.subscriptions).toHaveLength(0);
  });

  it('does nothing without a session', async () => {
    const { result } = renderHook(() => useChat(), { wrapper });
    expect(result.current).toMatchObject({ messages: [], isLoading: false });
    expect(await result.current.sendMessage('Hello')).toBeNull();
    expect(server.requests).toEqual([]);
  });

  it('shows nothing of one session under another', async () => {
    server.answer('GET', '*/messages', (asked: { path: string }) => ({ messages: [message('1', asked.path.split('/')[6]!)], cursor: 'c1', previous: null }));
    const { result, rerender } = renderHook(({ id }) => useChat(id), { wrapper, initialProps: { id: 's1' } });
    await vi.waitFor(() => expect(result.current.messages[0]?.content).toBe('s1'));
    rerender({ id: 's2' });
    expect(result.current.messages).toEqual([]);
    await vi.waitFor(() => expect(result.current.messages[0]?.content).toBe('s2'));
    expect(server.subscriptions.map(({ filter }) => filter.subject)).toEqual(['s2']);
  });
});

describe('useChatWebSocket', () => {
  const session = (id: string, status: string) => ({ id, user_id: 'ann', subject: id, metadata: {}, status, assigned_to: null, created_at: `2026-11-21T14:22:0${id}Z`, updated_at: `2026-11-21T14:22:0${id}Z`, started_at: null, ended_at: null, last_message_at: null });
  const metrics = { sessions: { waiting: 1, active: 0, ended: 0, archived: 0 }, waiting_time: { average_s: null, longest_s: 3 }, messages_per_minute: 0 };

  it('calls back with sessions and metrics, first as they are, then as they change, without polling', async () => {
    server.answer('GET', '*/chat/sessions', { sessions: [session('1', 'waiting')], metrics, cursor: 'c1', next: null });
    server.answer('GET', '*/chat/metrics', metrics);
    server.answer('GET', '*/chat/presence', { sessions: {} });
    const seen: string[][] = [];
    const rates: number[] = [];
    const { result } = renderHook(
      () => useChatWebSocket({ onSessionUpdate: (all) => seen.push(all.map(({ id, status }) => `${id} ${status}`)), onMetricsUpdate: (now) => rates.push(now.messages_per_minute) }),
      { wrapper },
    );
    expect([seen, result.current.isConnected]).toEqual([[], true]);
    await vi.waitFor(() => expect(seen.at(-1)).toEqual(['1 waiting']));
    await vi.waitFor(() => expect(server.subscriptions).toHaveLength(1));
    act(() => void server.emit('chat_sessions.inserted', session('2', 'waiting'), { subject: '2' }));
    act(() => void server.emit('chat_sessions.updated', session('1', 'ended'), { subject: '1', changed: 'status' }));
    expect(seen.at(-1)).toEqual(['2 waiting', '1 ended']);
    act(() => void server.emit('chat.metrics', { ...metrics, messages_per_minute: 7 }));
    expect(rates.at(-1)).toBe(7);
    expect(server.requests.filter(({ path }) => path.endsWith('/sessions'))).toHaveLength(1);
  });

  it('calls back with nothing that was not told, and says why', async () => {
    server.answer('GET', '*/chat/sessions', () => Promise.reject(new Problem('forbidden', 'for admins', 403)));
    const onSessionUpdate = vi.fn();
    const { result } = renderHook(() => useChatWebSocket({ onSessionUpdate }), { wrapper });
    await vi.waitFor(() => expect(result.current.error?.code).toBe('forbidden'));
    expect(onSessionUpdate).not.toHaveBeenCalled();
  });
});

describe('useLocalStorage', () => {
  it('keeps what is set, also set twice in one go, in all components', () => {
    const one = renderHook(() => useLocalStorage('count', 0), { wrapper: StrictMode });
    const other = renderHook(() => useLocalStorage('count', 0));
    act(() => {
      one.result.current[1]((now) => now + 1);
      one.result.current[1]((now) => now + 1);
    });
    expect([one.result.current[0], other.result.current[0], localStorage.getItem('count')]).toEqual([2, 2, '2']);
  });

  it('follows other tabs', () => {
    const { result } = renderHook(() => useLocalStorage('theme', 'light'));
    act(() => {
      localStorage.setItem('theme', '"dark"');
      window.dispatchEvent(new StorageEvent('storage', { key: 'theme' }));
    });
    expect(result.current[0]).toBe('dark');
  });

  it('is the initial value where nothing, or nonsense, is stored, and says so', () => {
    const errors = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    localStorage.setItem('theme', '{');
    expect(renderHook(() => useLocalStorage('theme', 'light')).result.current[0]).toBe('light');
    expect(errors).toHaveBeenCalled();
  });

  it('keeps a value for the page that the browser does not store', () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
    vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
      throw new DOMException('full', 'QuotaExceededError');
    });
    const { result } = renderHook(() => useLocalStorage('big', ''));
    act(() => result.current[1]('much'));
    expect(result.current[0]).toBe('much');
  });
});

describe('on a server', () => {
  it('keeps no value, and says so', () => {
    const warnings = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    let set!: (value: string) => void;
    function Page() {
      const [theme, setTheme] = useLocalStorage('theme', 'light');
      set = setTheme;
      return <p>{theme}</p>;
    }
    expect(renderToString(<Page />)).toBe('<p>light</p>');
    vi.stubGlobal('window', undefined);
    set('dark');
    vi.unstubAllGlobals();
    expect(warnings).toHaveBeenCalledOnce();
    expect(localStorage.getItem('theme')).toBeNull();
  });

  it('renders without asking for or subscribing to anything', () => {
    function Page() {
      const { status } = useConnection();
      const { events } = useSSE();
      const { isLoading } = useChat('s1');
      const [theme] = useLocalStorage('theme', 'light');
      return <p>{[status.state, events.length, isLoading, theme].join(' ')}</p>;
    }
    localStorage.setItem('theme', '"dark"');
    expect(renderToString(<TidingsProvider connection={server}><Page /></TidingsProvider>)).toBe('<p>connecting 0 true light</p>');
    expect([server.requests, server.subscriptions]).toEqual([[], []]);
  });
});

describe('a page that came from a server', () => {
  it('takes over what was rendered there without complaint, and then shows how it is', async () => {
    const errors = vi.spyOn(console, 'error');
    function Page() {
      const { status } = useConnection();
      const { messages, isLoading } = useChat('s1');
      const [theme] = useLocalStorage('theme', 'light');
      return <p><ConnectionIndicator />{[status.state, messages.length, isLoading, theme].join(' ')}</p>;
    }
    const page = <StrictMode><TidingsProvider connection={server}><Page /></TidingsProvider></StrictMode>;
    localStorage.setItem('theme', '"dark"');
    server.answer('GET', '*/messages', { messages: [], cursor: 'c1', previous: null });
    const container = document.createElement('div');
    container.innerHTML = renderToString(page);
    expect(container.textContent).toBe('Connecting…Connecting…connecting 0 true light');
    render(page, { container, hydrate: true });
    await vi.waitFor(() => expect(container.textContent).toBe('LiveLiveconnected 0 false dark'));
    expect(errors).not.toHaveBeenCalled();
  });
});

describe('TidingsProvider', () => {
  it('takes its children to another connection', () => {
    const other = scripted();
    const Show = () => <p>{useConnection().status.transport}</p>;
    other.setStatus({ transport: 'sse' });
    const { container, rerender } = render(<TidingsProvider connection={server}><Show /></TidingsProvider>);
    expect(container.textContent).toBe('websocket');
    rerender(<TidingsProvider connection={other}><Show /></TidingsProvider>);
    expect(container.textContent).toBe('sse');
  });
});
