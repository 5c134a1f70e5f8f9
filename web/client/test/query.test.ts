import { QueryClient, QueryObserver } from '@tanstack/query-core';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bindQueries, queryBinding } from '../query';
import { scripted, type Scripted } from './scripted';

let server: Scripted;
let queries: QueryClient;
let fetched: string[];

beforeEach(() => {
  vi.useFakeTimers();
  server = scripted();
  queries = new QueryClient({ defaultOptions: { queries: { retry: false, staleTime: Infinity } } });
  fetched = [];
});
afterEach(() => {
  queries.clear();
  vi.useRealTimers();
});

/** A query that a component shows. */
async function shown(queryKey: readonly string[], queryFn: () => unknown = () => queryKey.join()) {
  const observer = new QueryObserver(queries, {
    queryKey,
    queryFn: () => {
      fetched.push(queryKey.join());
      return queryFn();
    },
  });
  const end = observer.subscribe(() => undefined);
  await vi.advanceTimersByTimeAsync(0);
  fetched = [];
  return end;
}

describe('bindQueries', () => {
  it('fetches again what events are about, once for a burst, and nothing else', async () => {
    await shown(['documents', 'all']);
    await shown(['documents', 'one']);
    await shown(['invoices']);
    bindQueries(server, queries, [{ types: 'documents.*', queryKey: ['documents'] }]);
    for (let count = 0; count < 10; count += 1) server.emit('documents.updated', {});
    server.emit('invoices.updated', {});
    await vi.advanceTimersByTimeAsync(50);
    expect(fetched).toEqual(['documents,all', 'documents,one']);
  });

  it('narrows to what one event is about', async () => {
    await shown(['document', 'd1']);
    await shown(['document', 'd2']);
    bindQueries(server, queries, [{ types: 'documents.*', queryKey: ['document'], narrow: ({ subject }) => (subject === undefined ? null : ['document', subject]) }]);
    server.emit('documents.updated', {}, { subject: 'd2' });
    server.emit('documents.updated', {});
    await vi.advanceTimersByTimeAsync(50);
    expect(fetched).toEqual(['document,d2']);
  });

  it('patches what is cached without fetching, and fetches what a patch cannot tell', async () => {
    await shown(['document', 'd1'], () => ({ name: 'old' }));
    await shown(['documents'], () => []);
    bindQueries(server, queries, [
      queryBinding<{ 'documents.updated': { name: string } }, 'documents.updated'>({ types: 'documents.updated', queryKey: ['document'], patch: (_old, { data }) => data }),
      { types: 'documents.*', queryKey: ['documents'], patch: () => undefined },
      { types: 'documents.*', queryKey: ['nobody', 'asked'], patch: (_old, { data }) => data },
    ]);
    server.emit('documents.updated', { name: 'new' });
    expect(queries.getQueryData(['document', 'd1'])).toEqual({ name: 'new' });
    await vi.advanceTimersByTimeAsync(50);
    expect(fetched).toEqual(['documents']);
    expect(queries.getQueryData(['nobody', 'asked'])).toBeUndefined();
  });

  it('does not let an older answer that is under way undo a patch', async () => {
    const answers: ((value: unknown) => void)[] = [];
    await shown(['document'], () => new Promise((resolve) => answers.push(resolve)));
    answers[0]!({ name: 'first' });
    await vi.advanceTimersByTimeAsync(0);
    void queries.refetchQueries({ queryKey: ['document'] });
    bindQueries(server, queries, [{ types: 'documents.*', queryKey: ['document'], patch: (_old, { data }) => data }]);
    server.emit('documents.updated', { name: 'second' });
    answers[1]!({ name: 'first' });
    await vi.advanceTimersByTimeAsync(50);
    answers[2]!({ name: 'second' });
    await vi.advanceTimersByTimeAsync(0);
    expect(queries.getQueryData(['document'])).toEqual({ name: 'second' });
  });

  it('fetches a row that was too large to send', async () => {
    await shown(['document'], () => ({}));
    bindQueries(server, queries, [{ types: 'documents.*', queryKey: ['document'], patch: (_old, { data }) => data }]);
    server.emit('documents.updated', undefined, { truncated: true });
    await vi.advanceTimersByTimeAsync(50);
    expect(fetched).toEqual(['document']);
  });

  it('fetches everything that is bound when something was missed, and what was read before it listened', async () => {
    await shown(['documents']);
    await shown(['invoices']);
    await shown(['other']);
    bindQueries(server, queries, [
      { types: 'documents.*', queryKey: ['documents'], narrow: () => null },
      { types: 'invoices.*', queryKey: ['invoices'], patch: (old) => old },
    ]);
    server.ready();
    await vi.advanceTimersByTimeAsync(50);
    server.ready({ again: true });
    await vi.advanceTimersByTimeAsync(50);
    expect(fetched.splice(0)).toEqual(['documents', 'invoices']);
    server.reset();
    await vi.advanceTimersByTimeAsync(50);
    expect(fetched).toEqual(['documents', 'invoices']);
  });

  it('ends: neither events nor what waits fetches anything', async () => {
    await shown(['documents']);
    const unbind = bindQueries(server, queries, [{ types: 'documents.*', queryKey: ['documents'] }]);
    server.emit('documents.updated', {});
    unbind();
    server.emit('documents.updated', {});
    await vi.advanceTimersByTimeAsync(50);
    expect([fetched, server.subscriptions]).toEqual([[], []]);
  });
});
