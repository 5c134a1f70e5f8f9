// @vitest-environment happy-dom
import { act, cleanup, renderHook } from '@testing-library/react';
import { StrictMode, type ReactNode } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createApp, nextTick, ref, type Ref } from 'vue';
import { TidingsProvider } from '../react/TidingsProvider';
import { useCaseNotifications } from '../react/useCaseNotifications';
import { useCaseNotifications as useCaseNotificationsVue } from '../vue/useCaseNotifications';
import { scripted, type Scripted } from './scripted';

let server: Scripted;
const row = (id: string, status: string, more = {}) => ({ id, title: 'Parking', status, results: null, error: null, ...more });

beforeEach(() => {
  server = scripted();
  server.answer('GET', '*/watched/cases/*', ({ path }: { path: string }) => ({ cursor: 'c1', data: row(path.split('/').at(-1)!, 'pending'), poll_after_ms: 5_000 }));
});
afterEach(cleanup);

const step = (status: string, more = {}) => server.emit('cases.updated', row('7', status, more), { subject: '7' });

describe('useCaseNotifications of React', () => {
  const wrapper = ({ children }: { children: ReactNode }) => (
    <StrictMode>
      <TidingsProvider connection={server}>{children}</TidingsProvider>
    </StrictMode>
  );

  it('goes from pending over processing to completed, and reads once', async () => {
    const { result, unmount } = renderHook(() => useCaseNotifications('7'), { wrapper });
    expect(result.current).toMatchObject({ isLoading: true, status: null, isConnected: true });
    await vi.waitFor(() => expect(result.current.status).toBe('pending'));
    act(() => void step('processing', { progress: 40 }));
    expect(result.current).toMatchObject({ status: 'processing', progress: 40 });
    act(() => void step('completed', { results: { likelihood: 0.7 }, progress: 100 }));
    expect(result.current).toMatchObject({ status: 'completed', results: { likelihood: 0.7 }, progress: null });
    expect(server.requests).toHaveLength(1);
    unmount();
    await act(async () => undefined);
    expect(server.subscriptions).toHaveLength(0);
  });

  it('tells why processing failed, apart from why it could not be read', async () => {
    const { result } = renderHook(() => useCaseNotifications('7'), { wrapper });
    await vi.waitFor(() => expect(result.current.status).toBe('pending'));
    act(() => void step('failed', { error: { code: 'unreadable', message: 'The file cannot be read.' } }));
    expect(result.current).toMatchObject({ status: 'failed', failure: { code: 'unreadable' }, error: null });
  });

  it('waits for a token and for a case', () => {
    const { result } = renderHook(() => useCaseNotifications(null, null));
    expect(result.current).toMatchObject({ status: null, isConnected: false, isLoading: false });
  });
});

describe('useCaseNotifications of Vue', () => {
  function mounted(id: Ref<string | null>) {
    let used!: ReturnType<typeof useCaseNotificationsVue>;
    const app = createApp({ setup: () => ((used = useCaseNotificationsVue(id, undefined, { connection: server })), () => null) });
    app.mount(document.createElement('div'));
    return { app, used };
  }

  it('goes from pending over processing to completed', async () => {
    const { app, used } = mounted(ref('7'));
    expect(used.isLoading.value).toBe(true);
    await vi.waitFor(() => expect(used.status.value).toBe('pending'));
    step('processing', { progress: 40 });
    expect([used.status.value, used.progress.value, used.isConnected.value]).toEqual(['processing', 40, true]);
    step('completed', { results: { likelihood: 0.7 } });
    expect([used.status.value, used.results.value]).toEqual(['completed', { likelihood: 0.7 }]);
    app.unmount();
  });

  it('follows another case when the id is another, and nothing of the old one is shown', async () => {
    const id = ref<string | null>('7');
    const { app, used } = mounted(id);
    await vi.waitFor(() => expect(used.case.value?.id).toBe('7'));
    id.value = '8';
    await nextTick();
    expect(used.case.value).toBeNull();
    await vi.waitFor(() => expect(used.case.value?.id).toBe('8'));
    expect(server.subscriptions.map(({ filter }) => filter.subject)).toEqual(['8']);
    app.unmount();
  });

  it('ends with its component, and leaves a connection open that it was given', async () => {
    const { app, used } = mounted(ref('7'));
    await vi.waitFor(() => expect(server.subscriptions).toHaveLength(1));
    app.unmount();
    await vi.waitFor(() => expect(server.subscriptions).toHaveLength(0));
    expect(server.closed).toBe(false);
    server.setStatus({ state: 'offline' });
    expect(used.isConnected.value).toBe(true);
  });
});
