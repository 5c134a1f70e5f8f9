// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '../src/problem';
import { progress } from '../store/progress';
import { uploading, type Upload } from '../store/uploading';
import { uploads, type UploadItem } from '../store/uploads';
import { scripted } from './scripted';

beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-20T12:00:00Z') }));
afterEach(() => {
  vi.useRealTimers();
  localStorage.clear();
});

const key = 'document-uploads';
const stored = () => JSON.parse(localStorage.getItem(key) ?? '[]') as UploadItem[];
const file = (name = 'Plan.pdf') => new File(['x'], name, { type: 'application/pdf' });
const item = { fileName: 'Plan.pdf', status: 'uploading', progress: 0, tenantId: 'acme' } as const;
const settle = () => vi.advanceTimersByTimeAsync(0);

function live(options = {}) {
  const store = uploads({ tenant: 'acme', user: 'ann', ...options });
  const stop = store.subscribe(() => {});
  return { store, stop };
}

describe('the uploads', () => {
  it('get an id and times, and are kept under the known key', () => {
    const { store } = live();
    const id = store.add(item);
    expect(id).toMatch(/^upload_\d+_[a-z0-9]{7}$/);
    expect(stored()).toEqual([{ ...item, userId: 'ann', id, startTime: Date.now(), lastUpdated: Date.now() }]);
  });

  it('note when they were last changed', () => {
    const { store } = live();
    const id = store.add(item);
    vi.advanceTimersByTime(1000);
    store.update(id, { progress: 10 });
    const [{ startTime, lastUpdated, progress }] = store.get() as [UploadItem];
    expect([progress, lastUpdated - startTime]).toEqual([10, 1000]);
  });

  it('clear away what is complete and what has failed, and nothing else', () => {
    const { store } = live();
    for (const status of ['uploading', 'processing', 'complete', 'failed'] as const) store.add({ ...item, status });
    store.clearCompleted();
    expect(store.get().map(({ status }) => status)).toEqual(['uploading', 'processing']);
  });

  it('forget what is older than a day', () => {
    const first = live();
    first.store.add({ ...item, status: 'processing' });
    first.stop();
    vi.advanceTimersByTime(24 * 3_600_000 + 1);
    expect(live().store.get()).toEqual([]);
    expect(stored()).toEqual([]);
  });

  it('begin empty, and say so, where what is stored is nonsense', () => {
    const error = vi.spyOn(console, 'error').mockReturnValue();
    localStorage.setItem(key, '{');
    expect(live().store.get()).toEqual([]);
    expect(error).toHaveBeenCalledOnce();
    error.mockRestore();
  });

  it('are interrupted when their page goes, and only their own page may say so', () => {
    const mine = live();
    const other = live();
    mine.store.add(item);
    window.dispatchEvent(new StorageEvent('storage', { key }));
    other.stop();
    expect(other.store.get()).toMatchObject([{ status: 'uploading' }]);
    window.dispatchEvent(new Event('pagehide'));
    expect(stored()).toMatchObject([{ status: 'failed', interrupted: true }]);
  });

  it('are interrupted when their page has gone without a word', () => {
    const { store } = live();
    localStorage.setItem(key, JSON.stringify([{ ...item, id: 'upload_1_abcdefg', startTime: Date.now(), lastUpdated: Date.now() }]));
    window.dispatchEvent(new StorageEvent('storage', { key }));
    expect(store.get()).toMatchObject([{ status: 'uploading' }]);
    vi.advanceTimersByTime(30_000);
    expect(store.get()).toMatchObject([{ status: 'failed', interrupted: true }]);
  });

  it('of a page that sends slowly are not taken for interrupted', () => {
    const { store } = live();
    store.add(item);
    vi.advanceTimersByTime(120_000);
    expect(store.get()).toMatchObject([{ status: 'uploading' }]);
  });

  it('of another tenant and of another user are not shown', () => {
    const { store } = live();
    store.add(item);
    expect(live({ tenant: 'globex' }).store.get()).toEqual([]);
    expect(live({ user: 'ben' }).store.get()).toEqual([]);
    expect(live().store.get()).toHaveLength(1);
  });
});

describe('sending', () => {
  function sender(upload: Upload = async () => ({ url: 'upload:acme/1' })) {
    const connection = scripted({ tenant: 'acme' });
    connection.answer('POST', '/v1/tenants/acme/documents', { id: 'doc_1', status: 'uploaded', stage: null });
    const { store } = live();
    const failures: string[] = [];
    return { connection, store, failures, sending: uploading(connection, 'acme', store, upload, (name, { code }) => failures.push(`${name} ${code}`)) };
  }

  it('makes a document of each file, with the address where it lies', async () => {
    const { sending, store, connection } = sender();
    sending.send([file()]);
    await settle();
    expect(store.get()).toMatchObject([{ fileName: 'Plan.pdf', status: 'processing', documentId: 'doc_1', progress: 0 }]);
    expect(connection.requests[0]).toMatchObject({ body: { name: 'Plan.pdf', url: 'upload:acme/1', size: 1, mime_type: 'application/pdf', metadata: { uploadId: store.get()[0]!.id } } });
  });

  it('tells how far it is', async () => {
    let tell: (percent: number) => void = () => {};
    const { sending, store } = sender((_, { onProgress }) => ((tell = onProgress), new Promise(() => {})));
    sending.send([file()]);
    await settle();
    tell(41.7);
    expect(store.get()).toMatchObject([{ status: 'uploading', progress: 41 }]);
    tell(100);
    expect(store.get()).toMatchObject([{ status: 'uploading', progress: 99 }]);
  });

  it('fails with the reason, and sends the same file again', async () => {
    let attempts = 0;
    const { sending, store, failures } = sender(async () => {
      if (!attempts++) throw new Problem('too_large', 'The file is too large.', 413);
      return { url: 'upload:acme/1' };
    });
    sending.send([file()]);
    await settle();
    expect(store.get()).toMatchObject([{ status: 'failed', error: 'The file is too large.' }]);
    expect(failures).toEqual(['Plan.pdf too_large']);
    expect(sending.retry(store.get()[0]!.id)).toBe(true);
    await settle();
    expect(store.get()).toMatchObject([{ status: 'processing' }]);
  });

  it('says what an upload of the application says, and of a broken connection only that', async () => {
    const reasons = [new Error('The bucket is full.'), new TypeError('Failed to fetch')];
    const { sending, store, failures } = sender(() => Promise.reject(reasons.shift()));
    sending.send([file('One.pdf'), file('Two.pdf')]);
    await settle();
    expect(store.get().map(({ error }) => error)).toEqual(['The bucket is full.', 'The connection broke off.']);
    expect(failures).toEqual(['One.pdf upload_failed', 'Two.pdf unreachable']);
  });

  it('does not send the bytes twice when only the record failed', async () => {
    const upload = vi.fn<Upload>(async () => ({ url: 'upload:acme/1' }));
    const { sending, store, connection } = sender(upload);
    connection.answer('POST', '/v1/tenants/acme/documents', () => Promise.reject(new Problem('unreachable', 'no answer')));
    sending.send([file()]);
    await settle();
    connection.answer('POST', '/v1/tenants/acme/documents', { id: 'doc_1' });
    sending.retry(store.get()[0]!.id);
    await settle();
    expect(store.get()).toMatchObject([{ status: 'processing', documentId: 'doc_1' }]);
    expect(upload).toHaveBeenCalledOnce();
  });

  it('puts what a bucket says of a file into the metadata of its document, also when the record is tried again', async () => {
    const { sending, store, connection } = sender(async () => ({ url: 'https://bucket/k1', metadata: { s3Key: 'k1' } }));
    connection.answer('POST', '/v1/tenants/acme/documents', () => Promise.reject(new Problem('unreachable', 'no answer')));
    sending.send([file()]);
    await settle();
    sending.retry(store.get()[0]!.id);
    await settle();
    const sent = { url: 'https://bucket/k1', metadata: { s3Key: 'k1', uploadId: store.get()[0]!.id } };
    expect(connection.requests.map(({ body }) => body)).toMatchObject([sent, sent]);
  });

  it('keeps to three files at once', async () => {
    let running = 0;
    let most = 0;
    const ends: (() => void)[] = [];
    const { sending, store } = sender(async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => ends.push(resolve));
      running--;
      return { url: 'u' };
    });
    sending.send(Array.from({ length: 8 }, (_, index) => file(`${index}`)));
    for (let i = 0; i < 20; i++) {
      await settle();
      ends.shift()?.();
    }
    await settle();
    expect(most).toBe(3);
    expect(store.get().every(({ status }) => status === 'processing')).toBe(true);
  });

  it('ends when it is cancelled, and leaves nothing behind', async () => {
    let aborted = false;
    const { sending, store, failures } = sender((_, { signal }) => new Promise((_resolve, reject) => signal.addEventListener('abort', () => ((aborted = true), reject(signal.reason as Error)))));
    sending.send([file()]);
    await settle();
    sending.cancel(store.get()[0]!.id);
    await settle();
    expect([aborted, store.get(), failures]).toEqual([true, [], []]);
  });

  it('asks for the file where it is not here any more, and uses the item again', async () => {
    const { sending, store } = sender();
    const id = store.add({ ...item, status: 'failed', interrupted: true });
    expect(sending.retry(id)).toBe(false);
    sending.send([file('Plan 2.pdf')], id);
    await settle();
    expect(store.get()).toMatchObject([{ id, fileName: 'Plan 2.pdf', status: 'processing', interrupted: false }]);
  });
});

describe('following what is processed', () => {
  function follower(...items: Partial<UploadItem>[]) {
    const connection = scripted({ tenant: 'acme' });
    const { store } = live();
    for (const one of items) store.add({ ...item, status: 'processing', documentId: 'doc_1', ...one });
    let status: object = { id: 'doc_1', status: 'processing', progress: 5, stage: 'ocr', error: null };
    connection.answer('GET', '/v1/tenants/acme/documents/status', () => ({ documents: [status], poll_after_ms: 3000 }));
    const asked = () => connection.requests.filter(({ path }) => path.endsWith('/status')).length;
    const following = progress(connection, 'acme', store);
    const stop = following.subscribe(() => {});
    return { connection, store, following, stop, asked, says: (next: object) => (status = { id: 'doc_1', error: null, stage: null, progress: null, ...next }) };
  }
  const only = (store: { get(): readonly UploadItem[] }) => store.get()[0]!;

  it('hears of each step, and asks once only', async () => {
    const { connection, store, asked, following } = follower({});
    connection.ready();
    await settle();
    expect(only(store)).toMatchObject({ status: 'processing', progress: 5, stage: 'ocr' });
    connection.emit('documents.updated', { id: 'doc_1', status: 'processing', progress: 60, stage: 'embedding', error: null }, { subject: 'doc_1' });
    expect(only(store)).toMatchObject({ progress: 60, stage: 'embedding' });
    connection.emit('documents.updated', { id: 'doc_1', status: 'processed', progress: 100, stage: null, error: null }, { subject: 'doc_1' });
    expect(only(store)).toMatchObject({ status: 'complete', progress: 100 });
    await vi.advanceTimersByTimeAsync(60_000);
    expect([asked(), following.get().isPolling]).toEqual([1, false]);
  });

  it('shows why it failed', () => {
    const { connection, store } = follower({});
    connection.emit('documents.updated', { id: 'doc_1', status: 'failed', error: { code: 'damaged', message: 'Page 3 is damaged' } }, { subject: 'doc_1' });
    expect(only(store)).toMatchObject({ status: 'failed', error: 'Page 3 is damaged' });
  });

  it('learns what ended while nobody was looking', async () => {
    const { connection, store, says } = follower({});
    says({ status: 'processed' });
    connection.ready();
    await settle();
    expect(only(store).status).toBe('complete');
  });

  it('does not miss the end of a document that was done before its own record was answered', async () => {
    const { connection, store, says } = follower({ documentId: 'doc_9' });
    connection.ready();
    await settle();
    const id = store.add(item);
    says({ status: 'processed' });
    connection.emit('documents.updated', { id: 'doc_1', status: 'processed', error: null }, { subject: 'doc_1' });
    store.update(id, { status: 'processing', documentId: 'doc_1' });
    await settle();
    expect(store.get().find((one) => one.id === id)).toMatchObject({ status: 'complete' });
  });

  it('polls only while events cannot come, as often as the server says, and stops', async () => {
    const { connection, store, following, asked, says } = follower({});
    connection.setStatus({ state: 'connecting' });
    expect(following.get().isPolling).toBe(true);
    await settle();
    expect(asked()).toBe(1);
    await vi.advanceTimersByTimeAsync(3000);
    expect(asked()).toBe(2);
    says({ status: 'processed' });
    await vi.advanceTimersByTimeAsync(3000);
    expect(only(store).status).toBe('complete');
    expect(following.get().isPolling).toBe(false);
    await vi.advanceTimersByTimeAsync(30_000);
    expect(asked()).toBe(3);
  });

  it('polls where the events are refused', async () => {
    const { connection, store, following, says } = follower({});
    connection.subscriptions[0]!.refuse(new Problem('forbidden', 'not yours', 403));
    expect(following.get().isPolling).toBe(true);
    says({ status: 'failed', error: { code: 'x', message: 'It broke' } });
    await settle();
    expect(only(store)).toMatchObject({ status: 'failed', error: 'It broke' });
  });

  it('leaves everything as it is when asking fails', async () => {
    const warn = vi.spyOn(console, 'warn').mockReturnValue();
    const { connection, store } = follower({});
    connection.answer('GET', '/v1/tenants/acme/documents/status', () => Promise.reject(new Problem('unreachable', 'no answer')));
    connection.ready();
    await settle();
    expect(only(store)).toMatchObject({ status: 'processing', progress: 0 });
    expect(warn).toHaveBeenCalledOnce();
    warn.mockRestore();
  });

  it('finds the document of an upload whose page went before the answer came', async () => {
    const { connection, store } = follower({ documentId: 'doc_9' });
    const id = store.add({ ...item, status: 'failed', interrupted: true, url: 'upload:acme/2' });
    connection.answer('GET', '/v1/tenants/acme/documents', { documents: [{ id: 'doc_2', status: 'processing', metadata: { uploadId: id }, progress: 10, stage: null, error: null }] });
    connection.ready();
    await settle();
    expect(store.get().find((one) => one.id === id)).toMatchObject({ documentId: 'doc_2', status: 'processing', interrupted: false });
  });

  it('ends with the last listener', async () => {
    const { connection, stop } = follower({});
    stop();
    await settle();
    expect(connection.subscriptions).toHaveLength(0);
  });
});
