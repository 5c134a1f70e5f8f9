import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '../src/problem';
import { listed, waiting } from '../store/inbox';
import { tabs } from '../store/notification';
import { notifications } from '../store/notifications';
import { centre, type Centre } from './centre';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

const quiet = () => vi.advanceTimersByTimeAsync(10_000);

async function opened(server: Centre, tab: (typeof tabs)[number] = 'all') {
  const store = notifications(server.connection, 'acme');
  const stop = store.subscribe(() => {});
  await store.open(tab);
  await vi.advanceTimersByTimeAsync(0);
  return { store, stop, ids: (of: (typeof tabs)[number] = tab) => listed(store.get(), of).map(({ id }) => id) };
}

describe('the notification centre', () => {
  it('shows the newest first, and older ones page by page until there are none', async () => {
    const server = centre(45);
    const { store, ids } = await opened(server);
    expect(ids()).toHaveLength(20);
    expect(ids()[0]).toBe('n000045');
    await store.more('all');
    await store.more('all');
    expect(ids()).toHaveLength(45);
    expect(store.get().lists.all.next).toBeNull();
    expect(new Set(ids()).size).toBe(45);
  });

  it('takes in what arrives, and counts it without asking', async () => {
    const server = centre(3);
    const { store, ids } = await opened(server);
    await quiet();
    const asked = server.connection.requests.length;
    server.insert({ type: 'document_processed' });
    await quiet();
    expect(ids()[0]).toBe('n000004');
    expect(store.get().counts).toMatchObject({ all: 4, unread: 4, unseen: 4, documents: 1 });
    expect(server.connection.requests).toHaveLength(asked);
  });

  it('shows a change at once, and takes it back when the server refuses', async () => {
    const server = centre(3);
    const { store, ids } = await opened(server);
    server.connection.answer('PATCH', '/v1/tenants/acme/notifications/*', () => Promise.reject(new Problem('database_unavailable', 'later', 503)));
    const attempt = store.mark('n000002', { archived: true });
    expect(ids()).toEqual(['n000003', 'n000001']);
    expect(store.get().counts).toMatchObject({ all: 2, archived: 1, unread: 2 });
    await expect(attempt).rejects.toMatchObject({ code: 'database_unavailable' });
    expect(ids()).toEqual(['n000003', 'n000002', 'n000001']);
    expect(store.get().counts).toMatchObject({ all: 3, archived: 0, unread: 3 });
  });

  it('counts its own change once, though an event tells of it too', async () => {
    const server = centre(3);
    const { store } = await opened(server);
    await store.mark('n000002', { read: true });
    expect(store.get().counts).toMatchObject({ unread: 2, unseen: 2 });
    await quiet();
    expect(store.get().counts).toMatchObject({ unread: 2, unseen: 2 });
  });

  it('brings an archived one back as unread as it was', async () => {
    const server = centre(2);
    const { store, ids } = await opened(server);
    await store.mark('n000001', { archived: true });
    await store.mark('n000001', { read: false });
    expect(ids()).toEqual(['n000002', 'n000001']);
    expect(store.get().counts).toMatchObject({ all: 2, unread: 2, archived: 0 });
  });

  it('keeps changes of one notification in their order', async () => {
    const server = centre(1);
    const { store } = await opened(server);
    server.slow = true;
    const both = Promise.all([store.mark('n000001', { archived: true }), store.mark('n000001', { archived: false })]);
    const sent = () => server.connection.requests.filter(({ method }) => method === 'PATCH');
    await vi.advanceTimersByTimeAsync(0);
    expect(sent()).toHaveLength(1);
    await server.answer();
    await vi.advanceTimersByTimeAsync(0);
    await server.answer();
    await both;
    expect(sent().map(({ body }) => body)).toEqual([{ archived: true }, { archived: false }]);
    expect(store.get().notifications.get('n000001')).toMatchObject({ archived: false });
  });

  it('follows what another window reads, archives and sees', async () => {
    const server = centre(3);
    const { store, ids } = await opened(server);
    server.mark('n000003', { archived: true });
    server.mark('n000002', { read: true });
    expect(ids()).toEqual(['n000002', 'n000001']);
    expect(store.get().counts).toMatchObject({ all: 2, unread: 1, archived: 1 });
    server.readAll();
    expect(store.get().counts).toMatchObject({ unread: 0, unseen: 0 });
  });

  it('asks when another window moves one that was never loaded here', async () => {
    const server = centre(30);
    const { store, ids } = await opened(server, 'archived');
    server.mark('n000001', { archived: true });
    await quiet();
    expect(ids()).toEqual(['n000001']);
    expect(store.get().counts).toMatchObject({ all: 29, archived: 1 });
  });

  it('believes an event rather than an answer that was sent before it', async () => {
    const server = centre(2);
    const { store, ids } = await opened(server);
    server.slow = true;
    const loading = store.reload();
    await vi.advanceTimersByTimeAsync(0);
    server.slow = false;
    server.remove('n000001');
    server.insert();
    await server.answer();
    await loading;
    expect(ids()).toEqual(['n000003', 'n000002']);
    await quiet();
    expect(store.get().counts).toMatchObject({ all: 2 });
  });

  it('holds arrivals back while somebody reads further down, and counts them', async () => {
    const server = centre(2);
    const { store, ids } = await opened(server);
    const release = store.hold();
    server.insert();
    expect(ids()).toEqual(['n000002', 'n000001']);
    expect(waiting(store.get(), 'all')).toBe(1);
    expect(store.get().counts).toMatchObject({ all: 3 });
    release();
    expect(ids()).toEqual(['n000003', 'n000002', 'n000001']);
    expect(waiting(store.get(), 'all')).toBe(0);
  });

  it('loads everything anew after a reset, and drops what is gone', async () => {
    const server = centre(3);
    const { store, ids } = await opened(server);
    server.rows.delete('n000002');
    server.rows.set('n000001', { ...server.rows.get('n000001')!, read: true, seen: true });
    server.connection.reset();
    await quiet();
    expect(ids()).toEqual(['n000003', 'n000001']);
    expect(store.get().counts).toMatchObject({ all: 2, unread: 1 });
  });

  it('keeps what it shows when loading anew fails, and tells a failure only of what never came', async () => {
    const server = centre(2);
    const { store, ids } = await opened(server);
    server.connection.answer('GET', '/v1/tenants/acme/notifications', () => Promise.reject(new Problem('unreachable', 'no answer')));
    await store.reload();
    await store.open('archived');
    expect(ids()).toEqual(['n000002', 'n000001']);
    expect(store.get().lists.archived).toMatchObject({ state: 'failed', problem: { code: 'unreachable' } });
  });

  it('tells of a burst once', async () => {
    const server = centre(0);
    const { store } = await opened(server);
    const heard: number[] = [];
    store.onArrival((arrived) => heard.push(arrived.length));
    for (let i = 0; i < 50; i++) server.insert();
    await quiet();
    expect(heard).toEqual([50]);
  });

  it('is live only while somebody listens', async () => {
    const server = centre(1);
    const { stop } = await opened(server);
    expect(server.connection.subscriptions).toHaveLength(1);
    stop();
    await vi.advanceTimersByTimeAsync(0);
    expect(server.connection.subscriptions).toHaveLength(0);
  });
});

describe('the counts', () => {
  // A small generator of its own, so that a failure names the seed that shows it again.
  const random = (seed: number) => () => ((seed = (seed * 1664525 + 1013904223) >>> 0), seed / 2 ** 32);

  it.each(Array.from({ length: 60 }, (_, seed) => seed + 1))('are what the lists and the server say, whatever happens in which order (%i)', async (seed) => {
    const chance = random(seed);
    const server = centre(25);
    const { store, ids } = await opened(server);
    for (const tab of tabs) await store.open(tab);
    for (let i = 0; i < 150; i++) {
      const all = [...server.rows.keys()];
      const id = all[Math.floor(chance() * all.length)]!;
      server.late = chance() < 0.5;
      const done: (() => unknown)[] = [
        () => server.insert({ type: chance() < 0.5 ? 'document_uploaded' : 'notice' }),
        () => server.insert(),
        () => all.length > 5 && server.remove(id),
        () => server.mark(id, { read: chance() < 0.5 }),
        () => server.mark(id, { archived: chance() < 0.5 }),
        () => chance() < 0.1 && server.readAll(),
        () => void store.mark(id, { read: chance() < 0.5 }).catch(() => {}),
        () => void store.mark(id, { archived: chance() < 0.5 }).catch(() => {}),
        () => chance() < 0.1 && void store.markAllRead(),
        () => void store.see(),
        () => void store.more(tabs[Math.floor(chance() * 4)]!),
        () => chance() < 0.2 && server.connection.reset(),
        () => server.flush(1 + Math.floor(chance() * 4)),
        () => vi.advanceTimersByTimeAsync(chance() * 800),
      ];
      await done[Math.floor(chance() * done.length)]!();
      await vi.advanceTimersByTimeAsync(chance() < 0.3 ? 20 : 0);
    }
    server.flush();
    await quiet();
    for (const tab of tabs) while (store.get().lists[tab].next !== null) await store.more(tab);
    await quiet();
    for (const tab of tabs) {
      expect(store.get().counts?.[tab], tab).toBe(server.count(tab));
      expect(ids(tab), tab).toHaveLength(server.count(tab));
    }
    expect(store.get().counts?.unseen).toBe(server.count('unseen'));
  });
});
