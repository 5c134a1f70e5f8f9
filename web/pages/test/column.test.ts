import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { scripted, type Scripted } from '../../client/test/scripted';
import { openCauses } from '../index/causes';
import { openColumn, type Column } from '../index/column';

describe('a column', () => {
  let opened: Scripted[];
  let column: Column;
  let between: string[];
  const live = () => opened.findLast((connection) => connection.subscriptions.length > 0)!;

  beforeEach(() => {
    vi.useFakeTimers({ now: Date.parse('2026-11-20T15:00:00Z') });
    opened = [];
    between = [];
    column = openColumn({
      tenant: 'acme',
      transport: 'sse',
      causes: openCauses(),
      bytesOf: () => null,
      frame: (draw) => draw(),
      open({ tenant = null }) {
        const connection = scripted({ tenant });
        connection.answer('GET', '/v1/tenants/*/events', () => ({ events: between.map((id) => ({ id })), cursor: 'c', more: false }));
        connection.answer('POST', '/v1/tenants/*/documents', { id: 'doc_1' });
        opened.push(connection);
        return connection;
      },
    });
    live().ready({ resumed: false });
  });
  afterEach(() => {
    column.close();
    vi.useRealTimers();
  });

  const event = (id: string, more = {}) => live().emit('documents.inserted', {}, { id, time: new Date().toISOString(), ...more });

  it('shows what comes, the newest first', () => {
    event('e1');
    event('e2');
    expect(column.get().rows.map((row) => row.event.id)).toEqual(['e2', 'e1']);
    expect(column.get().total).toBe(2);
  });

  it('proves after an absence that nothing was lost', async () => {
    event('e1');
    column.leave();
    between = ['e2', 'e3'];
    await vi.advanceTimersByTimeAsync(5_000);
    expect(live().subscriptions[0]!.filter.after).toBe('e1');
    live().ready({ resumed: true });
    event('e2');
    event('e3');
    expect(column.get()).toMatchObject({ checked: 2, missed: 0, note: { tone: 'good' } });
    expect(column.get().rows.filter((row) => row.late)).toHaveLength(2);
  });

  it('tells what was lost', async () => {
    event('e1');
    column.leave();
    between = ['e2', 'e3'];
    await vi.advanceTimersByTimeAsync(5_000);
    live().ready({ resumed: true });
    event('e3');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(column.get()).toMatchObject({ checked: 2, missed: 1, note: { tone: 'bad' } });
  });

  it('goes on from the same cursor over another transport', () => {
    event('e1');
    column.switchTo('websocket');
    expect(live().subscriptions[0]!.filter.after).toBe('e1');
    expect(column.get()).toMatchObject({ transport: 'websocket', total: 1 });
  });

  it('takes nothing of one tenant to the next', () => {
    event('e1');
    column.choose('globex');
    expect(live().tenant).toBe('globex');
    expect(live().subscriptions[0]!.filter.after).toBeNull();
    expect(column.get()).toMatchObject({ tenant: 'globex', rows: [], total: 0, latencies: [] });
  });

  it('counts events of other tenants, of which there must be none', () => {
    live().subscriptions[0]!.handlers.event!({ specversion: '1.0', id: 'x', source: '/emit', type: 'a', time: '', tenant: 'globex', data: {} });
    expect(column.get().foreign).toBe(1);
  });

  it('holds newer rows back while somebody reads', () => {
    event('e1');
    column.read(true);
    event('e2');
    expect(column.get()).toMatchObject({ held: 1, total: 2 });
    expect(column.get().rows).toHaveLength(1);
    column.read(false);
    expect(column.get().held).toBe(0);
    expect(column.get().rows.map((row) => row.event.id)).toEqual(['e2', 'e1']);
  });

  it('knows its own row, also when the event overtook the answer', async () => {
    const inserting = column.insert('Plan.pdf');
    event('e1', { subject: 'doc_1' });
    await inserting;
    expect(column.get().rows[0]!.yours).toBe(true);
    expect(column.get().note.text).toContain('Inserted doc_1');
  });

  it('shows events without an id too, and takes two that look the same for two', () => {
    live().emit('chat.delta', {}, { id: undefined as never });
    live().emit('chat.delta', {}, { id: undefined as never });
    expect(column.get().total).toBe(2);
  });
});
