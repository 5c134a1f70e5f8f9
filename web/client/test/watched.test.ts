import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '../src/problem';
import { watchedCase } from '../store/case';
import { watched } from '../store/watched';
import { scripted, type Scripted } from './scripted';

let server: Scripted;
const path = '/v1/tenants/acme/watched/cases/7';
const row = (status: string, more = {}) => ({ id: '7', title: 'Parking', status, results: null, error: null, ...more });
const answer = (status: string, cursor = 'c1') => server.answer('GET', path, { cursor, data: row(status), key: '7', poll_after_ms: 5_000, table: 'cases' });
const asked = () => server.requests.filter((request) => request.path === path).length;

beforeEach(() => {
  vi.useFakeTimers();
  server = scripted();
});
afterEach(() => {
  vi.useRealTimers();
});

function begin() {
  const store = watchedCase(server, '7');
  const end = store.subscribe(() => undefined);
  return { store, end };
}

describe('a watched row', () => {
  it('is read, then kept by the events of its subject from the cursor of that reading', async () => {
    answer('pending');
    const { store } = begin();
    expect(store.get()).toMatchObject({ row: null, isLoading: true });
    await vi.advanceTimersByTimeAsync(0);
    expect(store.get()).toMatchObject({ row: { status: 'pending' }, isLoading: false, isPolling: false });
    expect(server.subscriptions[0]!.filter).toMatchObject({ types: ['cases.*'], subject: '7', after: 'c1' });
    server.emit('cases.updated', row('processing', { progress: 40 }), { subject: '7' });
    expect(store.get().row).toMatchObject({ status: 'processing', progress: 40 });
    server.emit('cases.deleted', row('processing'), { subject: '7' });
    expect(store.get().row).toBeNull();
  });

  it('is not asked for again while events arrive', async () => {
    answer('processing');
    begin();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked()).toBe(1);
  });

  it('is asked for while there is no connection, as often as its state deserves, and not once it is completed', async () => {
    server.setStatus({ state: 'connecting' });
    answer('processing');
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    expect(store.get().isPolling).toBe(true);
    await vi.advanceTimersByTimeAsync(2_999);
    expect(asked()).toBe(1);
    answer('pending');
    await vi.advanceTimersByTimeAsync(1);
    expect([asked(), store.get().row?.status]).toEqual([2, 'pending']);
    await vi.advanceTimersByTimeAsync(9_999);
    expect(asked()).toBe(2);
    answer('completed');
    await vi.advanceTimersByTimeAsync(1);
    expect(store.get()).toMatchObject({ row: { status: 'completed' }, isPolling: false });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked()).toBe(3);
  });

  it('is asked for as the server advises where nothing else is known of the table', async () => {
    server.setStatus({ state: 'connecting' });
    answer('processing');
    watched(server, 'cases', '7').subscribe(() => undefined);
    await vi.advanceTimersByTimeAsync(4_999);
    expect(asked()).toBe(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(asked()).toBe(2);
  });

  it('is subscribed to from each reading, so that no older event sets it back', async () => {
    server.setStatus({ state: 'connecting' });
    answer('pending', 'c1');
    begin();
    await vi.advanceTimersByTimeAsync(0);
    answer('processing', 'c2');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(server.subscriptions.map(({ filter }) => filter.after)).toEqual(['c2']);
  });

  it('stops asking when events arrive, and asks nothing without a network', async () => {
    server.setStatus({ state: 'connecting' });
    answer('processing');
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    server.setStatus({ state: 'offline' });
    expect(store.get().isPolling).toBe(false);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked()).toBe(1);
    server.setStatus({ state: 'connecting' });
    await vi.advanceTimersByTimeAsync(3_000);
    expect(asked()).toBe(2);
    server.setStatus({ state: 'connected' });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked()).toBe(2);
  });

  it('is asked for when the subscription is refused', async () => {
    answer('processing');
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    server.subscriptions[0]!.refuse(new Problem('forbidden', 'only to be read', 403));
    expect(store.get()).toMatchObject({ isPolling: true, error: null });
    await vi.advanceTimersByTimeAsync(3_000);
    expect([asked(), server.subscriptions.length]).toEqual([2, 0]);
  });

  it('is read anew after a reset', async () => {
    answer('pending');
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    answer('completed', 'c9');
    server.reset();
    await vi.advanceTimersByTimeAsync(0);
    expect(store.get().row?.status).toBe('completed');
    expect(server.subscriptions.map(({ filter }) => filter.after)).toEqual(['c9']);
  });

  it('may be made later: it is waited for, saying that it is not there', async () => {
    server.answer('GET', path, () => Promise.reject(new Problem('no_row', 'no such row', 404)));
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    expect(store.get()).toMatchObject({ error: { code: 'no_row' }, isLoading: false });
    answer('uploaded');
    await vi.advanceTimersByTimeAsync(5_000);
    expect(store.get()).toMatchObject({ row: { status: 'uploaded' }, error: null, isPolling: false });
  });

  it('is asked for again after what passes, and after anything else on retry only', async () => {
    let code = 503;
    server.answer('GET', path, () => Promise.reject(new Problem('x', 'no', code)));
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    code = 403;
    await vi.advanceTimersByTimeAsync(1_000);
    await vi.advanceTimersByTimeAsync(60_000);
    expect([asked(), store.get().error?.status]).toEqual([2, 403]);
    answer('pending');
    await store.retry();
    expect(store.get()).toMatchObject({ error: null, row: { status: 'pending' } });
  });

  it('is asked for at once when the connection is back', async () => {
    server.answer('GET', path, () => Promise.reject(new Problem('unreachable', 'no answer')));
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    answer('pending');
    server.setStatus({ state: 'connected' });
    await vi.advanceTimersByTimeAsync(0);
    expect(store.get()).toMatchObject({ error: null, row: { status: 'pending' } });
  });

  it('leaves no timer and no subscription behind', async () => {
    server.setStatus({ state: 'connecting' });
    answer('processing');
    const { end } = begin();
    await vi.advanceTimersByTimeAsync(0);
    end();
    await vi.advanceTimersByTimeAsync(0);
    expect([vi.getTimerCount(), server.subscriptions.length]).toEqual([0, 0]);
  });

  it('belongs to the tenant that the token is for, where none is named', async () => {
    server = scripted({ tenant: null });
    server.answer('GET', '/v1/session', { sub: 'ann', role: 'member', tenants: ['globex'], expires_at: null });
    server.answer('GET', '/v1/tenants/globex/watched/cases/7', { cursor: 'c1', data: row('pending'), poll_after_ms: 5_000 });
    const { store } = begin();
    await vi.advanceTimersByTimeAsync(0);
    expect(store.get().row?.status).toBe('pending');
    expect(server.subscriptions[0]!.filter.tenant).toBe('globex');
  });
});
