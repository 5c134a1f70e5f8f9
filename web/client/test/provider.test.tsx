// @vitest-environment happy-dom
import { act, cleanup, render } from '@testing-library/react';
import { Activity, StrictMode, useEffect, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TidingsProvider, useCaseNotifications, useConnection, useSSE } from '../react';
import type { Connection, Options } from '../src/connection';

/** A server that takes every request and says nothing. */
const fetched = vi.fn<typeof fetch>(() => new Promise(() => undefined));
const options: Options = { url: 'http://tidings.test', tenant: 'acme', transport: 'sse', share: false, storage: null, fetch: fetched };
let used: Connection[];

function Page({ children }: { children?: ReactNode }) {
  const { connection, status } = useConnection();
  useSSE();
  useEffect(() => {
    if (used.at(-1) !== connection) used.push(connection);
  }, [connection]);
  return <p>{status.state}{children}</p>;
}

const settled = () => act(async () => undefined);

beforeEach(() => {
  used = [];
  fetched.mockClear();
});
afterEach(cleanup);

describe('a provider with options', () => {
  it('makes one connection in StrictMode and keeps it over renders with equal options', async () => {
    const page = () => <StrictMode><TidingsProvider {...options} getToken={() => 'token'}><Page /></TidingsProvider></StrictMode>;
    const { rerender } = render(page());
    await settled();
    rerender(page());
    await settled();
    expect(used).toHaveLength(1);
    expect(used[0]!.status.state).not.toBe('closed');
  });

  it('asks the function that was rendered last for tokens', async () => {
    const asked: string[] = [];
    const page = (name: string) => <TidingsProvider {...options} getToken={() => (asked.push(name), name)}><Page /></TidingsProvider>;
    const { rerender } = render(page('first'));
    await settled();
    rerender(page('second'));
    fetched.mockResolvedValueOnce(new Response('{}', { status: 401 }));
    void used[0]!.request('GET', '/v1/session').catch(() => undefined);
    await vi.waitFor(() => expect(asked).toEqual(['first', 'second']));
  });

  it('makes another one for another tenant, and closes the first', async () => {
    const { rerender, container } = render(<TidingsProvider {...options}><Page /></TidingsProvider>);
    await settled();
    rerender(<TidingsProvider {...options} tenant="globex"><Page /></TidingsProvider>);
    await settled();
    expect(used.map(({ tenant }) => tenant)).toEqual(['acme', 'globex']);
    expect(used.map(({ status }) => status.state)).toEqual(['closed', 'connecting']);
    expect(container.textContent).toBe('connecting');
  });

  it('closes it when it goes', async () => {
    const { unmount } = render(<StrictMode><TidingsProvider {...options}><Page /></TidingsProvider></StrictMode>);
    unmount();
    await settled();
    expect(used[0]!.status.state).toBe('closed');
  });

  it('is there again when it was hidden and is shown', async () => {
    const page = (mode: 'visible' | 'hidden') => <Activity mode={mode}><TidingsProvider {...options}><Page /></TidingsProvider></Activity>;
    const { rerender } = render(page('visible'));
    await settled();
    rerender(page('hidden'));
    await settled();
    expect(used[0]!.status.state).toBe('closed');
    rerender(page('visible'));
    await settled();
    expect(used.at(-1)!.status.state).toBe('connecting');
  });

  it('opens nothing on a server, and leaves no timer', () => {
    vi.useFakeTimers();
    expect(renderToString(<TidingsProvider {...options}><Page /></TidingsProvider>)).toBe('<p>connecting</p>');
    expect([fetched.mock.calls.length, vi.getTimerCount()]).toEqual([0, 0]);
    vi.useRealTimers();
  });
});

describe('a hook with a token', () => {
  it('makes a connection of its own for each token', async () => {
    vi.stubGlobal('fetch', fetched);
    const tokens = () => fetched.mock.calls.map(([, init]) => new Headers(init?.headers).get('authorization'));
    const Case = ({ token }: { token: string | null }) => <p>{String(useCaseNotifications('7', token, { url: 'http://tidings.test', tenant: 'acme', transport: 'poll' }).isLoading)}</p>;
    const { rerender, unmount } = render(<StrictMode><Case token={null} /></StrictMode>);
    await settled();
    expect(tokens()).toEqual([]);
    rerender(<StrictMode><Case token="one" /></StrictMode>);
    await vi.waitFor(() => expect(tokens()).toEqual(['Bearer one']));
    rerender(<StrictMode><Case token="two" /></StrictMode>);
    await vi.waitFor(() => expect(tokens()).toEqual(['Bearer one', 'Bearer two']));
    unmount();
    vi.unstubAllGlobals();
  });
});
