import type { Connection, Subscription } from '../src/connection';
import type { TidingsEvent } from '../src/event';
import type { DocumentState } from './documents';
import { cell, type Store } from './store';
import type { UploadItem, Uploads } from './uploads';

/**
 * Follows what the server makes of uploaded documents and writes it into the uploads. Events tell it; only while they cannot come, the
 * status is asked for, as often as the server says. After each connect it is asked for once, for what happened in between.
 * Live while somebody listens.
 */
export function progress(connection: Connection, tenant: string, uploads: Uploads): Store<{ isPolling: boolean }> {
  const state = cell({ isPolling: false }, begin);
  const path = `/v1/tenants/${encodeURIComponent(tenant)}/documents/status`;
  let live: Subscription | null = null;
  let refused = false;
  let timer: ReturnType<typeof setTimeout> | null = null;
  let run = 0;
  let step = 0;
  const touched = new Map<string, number>();
  /** Documents that were asked for once. What their events said before it was known whose they are is not lost that way. */
  const followed = new Set<string>();
  let isReady = false;
  /** Failed ones too: somebody else may have them processed again. */
  const open = () => uploads.get().filter(({ status, tenantId, documentId }) => tenantId === tenant && documentId !== undefined && status !== 'uploading' && status !== 'complete');
  const processing = () => open().filter(({ status }) => status === 'processing');
  const lost = () => uploads.get().some(({ status, url, documentId }) => status !== 'complete' && !!url && documentId === undefined);

  function begin() {
    const stop = [uploads.subscribe(look), connection.onStatus(look)];
    look();
    return () => {
      for (const end of stop) end();
      run++;
      refused = false;
      isReady = false;
      live?.close();
      live = null;
      if (timer) clearTimeout(timer);
      timer = null;
    };
  }

  /** Somebody must be told of something, or nobody any more. */
  function look() {
    const unasked = open().filter(({ documentId }) => !followed.has(documentId!));
    for (const { documentId } of unasked) followed.add(documentId!);
    if (unasked.length && isReady) void ask();
    if (!open().length && !lost()) {
      live?.close();
      live = null;
      isReady = false;
    } else if (!live && !refused) {
      live = connection.subscribe(
        { tenant, types: ['documents.inserted', 'documents.updated', 'documents.deleted'] },
        {
          event: (event) => hear(event as TidingsEvent<string, DocumentState>),
          ready: () => ((isReady = true), void ask()),
          reset: () => void ask(),
          error: () => ((refused = true), (live = null), look()),
        },
      );
    }
    const { state: now } = connection.status;
    const isPolling = processing().length > 0 && (refused || now === 'connecting' || now === 'closed');
    if (isPolling !== state.get().isPolling) state.set({ isPolling });
    if (isPolling && !timer) timer = setTimeout(poll, 0);
    if (!isPolling && timer) {
      clearTimeout(timer);
      timer = null;
    }
  }

  async function poll() {
    const mine = run;
    const wait = await ask();
    if (mine !== run || !timer) return;
    timer = state.get().isPolling ? setTimeout(poll, wait) : null;
  }

  /** Returns when to ask again. A failure is written to the console and changes nothing: the next time comes. */
  async function ask(): Promise<number> {
    const sent = step;
    try {
      if (lost()) {
        // Sent, and the page went before the answer: the document may be there, and names the upload.
        const recent = await connection.request<{ documents: DocumentState[] }>('GET', `${path.slice(0, -'/status'.length)}?limit=50`);
        for (const document of recent.documents) if ((touched.get(document.id) ?? 0) <= sent && document.metadata.uploadId) apply(document);
      }
      const ids = open().map(({ documentId }) => documentId!);
      if (!ids.length) return 3000;
      const answer = await connection.request<{ documents: Partial<DocumentState>[]; poll_after_ms: number }>('GET', `${path}?ids=${ids.map(encodeURIComponent).join(',')}`);
      for (const document of answer.documents) if ((touched.get(document.id!) ?? 0) <= sent) apply(document);
      return answer.poll_after_ms || 3000;
    } catch (error) {
      console.warn('tidings: the status of documents could not be read', error);
      return 5000;
    }
  }

  function hear({ type, subject, data }: TidingsEvent<string, DocumentState>) {
    if (subject !== undefined) touched.set(subject, ++step);
    if (type === 'documents.deleted') {
      const item = uploads.get().find(({ documentId }) => documentId === subject);
      if (item) uploads.remove(item.id);
      return;
    }
    apply({ ...data, ...(subject !== undefined && { id: subject }) });
  }

  function apply(document: Partial<DocumentState>) {
    const { id, status, stage, progress: percent, error, metadata } = document;
    const item = uploads.get().find((one) => (one.documentId === undefined ? !!one.url && one.id === metadata?.uploadId : one.documentId === id));
    if (!item || item.status === 'uploading') return;
    const next: Partial<UploadItem> =
      status === 'processed'
        ? { status: 'complete', progress: 100, stage: null }
        : status === 'failed'
          ? { status: 'failed', ...(error && { error: error.message }) }
          : { status: 'processing', progress: percent ?? 0, stage: stage ?? null, error: '' };
    // It is the server's now, whatever became of the page that sent it.
    uploads.update(item.id, { ...next, ...(id !== undefined && { documentId: id }), interrupted: false });
  }

  return state;
}
