import type { Connection } from '../src/connection';
import { Problem } from '../src/problem';
import type { DocumentState } from './documents';
import type { Uploads } from './uploads';

/**
 * Brings a file to where it shall lie, and says where that is. Replace it to send files to a bucket with a signed address; `metadata` goes into the
 * document's, such as the key in the bucket.
 */
export type Upload = (file: File, more: { onProgress: (percent: number) => void; signal: AbortSignal }) => Promise<Brought>;

export interface Brought {
  url: string;
  metadata?: Readonly<Record<string, unknown>>;
}

/**
 * Sends files and makes a document of each: first the bytes, then the record, whose event starts the processing. The page must stay for the bytes;
 * everything after them is the server's, and goes on without the page.
 */
export interface Uploading {
  /** Starts; what becomes of it stands in the uploads. `instead`: of an earlier item, which is used again. */
  send(files: Iterable<File>, instead?: string): void;
  /** Once more what failed. False: the file is not here any more and must be chosen again. */
  retry(id: string): boolean;
  /** Ends the sending, and takes the item away. */
  cancel(id: string): void;
}

/** Browsers open six connections to one host; the others are for the page. */
const atOnce = 3;
/** In place of what the browser says, which is for programmers. */
const brokenOff = 'The connection broke off.';

export function uploading(connection: Connection, tenant: string, uploads: Uploads, upload: Upload, onFailure?: (fileName: string, problem: Problem) => void): Uploading {
  const path = `/v1/tenants/${encodeURIComponent(tenant)}`;
  const files = new Map<string, File>();
  /** Where those lie whose record is not made yet: another try does not send the bytes again. */
  const brought = new Map<string, Brought>();
  const under = new Map<string, AbortController>();
  const queue: string[] = [];

  function next() {
    while (under.size < atOnce && queue.length) void run(queue.shift()!);
  }

  async function run(id: string) {
    const file = files.get(id);
    if (!file) return;
    const aborter = new AbortController();
    under.set(id, aborter);
    try {
      const lies =
        brought.get(id) ??
        (await upload(file, {
          signal: aborter.signal,
          // The last percent is the record's.
          onProgress: (percent) => uploads.update(id, { progress: Math.max(0, Math.min(99, Math.floor(percent))) }),
        }));
      brought.set(id, lies);
      uploads.update(id, { url: lies.url });
      const document = await connection.request<DocumentState>(
        'POST',
        `${path}/documents`,
        // The item's id goes along: where the answer is lost, the document can still be found by it.
        { name: file.name, url: lies.url, size: file.size, mime_type: file.type || null, metadata: { ...lies.metadata, uploadId: id } },
        { signal: aborter.signal },
      );
      uploads.update(id, { status: 'processing', documentId: document.id, progress: 0, stage: document.stage });
      forget(id);
    } catch (error) {
      if (aborter.signal.aborted) return;
      const told = toldOf(error);
      uploads.update(id, { status: 'failed', error: told.detail });
      onFailure?.(file.name, told);
    } finally {
      under.delete(id);
      next();
    }
  }

  function forget(id: string) {
    files.delete(id);
    brought.delete(id);
  }

  function start(id: string, file: File) {
    files.set(id, file);
    queue.push(id);
    next();
  }

  return {
    send(chosen, instead) {
      for (const file of chosen) {
        const again = uploads.get().find(({ id }) => id === instead)?.id;
        if (again !== undefined) {
          forget(again);
          uploads.update(again, { fileName: file.name, status: 'uploading', progress: 0, interrupted: false, error: '', url: '', stage: null });
        }
        start(again ?? uploads.add({ fileName: file.name, status: 'uploading', progress: 0, tenantId: tenant }), file);
        instead = undefined;
      }
    },
    retry(id) {
      const item = uploads.get().find((found) => found.id === id);
      if (!item || item.status !== 'failed') return true;
      if (item.documentId !== undefined) {
        const was = { status: item.status, ...(item.error !== undefined && { error: item.error }) } as const;
        uploads.update(id, { status: 'processing', progress: 0, error: '', stage: null });
        connection.request('POST', `${path}/documents/${encodeURIComponent(item.documentId)}/retry`).catch((error: unknown) => {
          // Somebody else was faster: then it is processed already, and what follows tells how far.
          if (error instanceof Problem && error.code === 'conflict') return;
          uploads.update(id, was);
          onFailure?.(item.fileName, error instanceof Problem ? error : new Problem('unreachable', String(error)));
        });
        return true;
      }
      const file = files.get(id);
      if (!file) return false;
      uploads.update(id, { status: 'uploading', progress: 0, error: '' });
      start(id, file);
      return true;
    },
    cancel(id) {
      under.get(id)?.abort();
      forget(id);
      uploads.remove(id);
    },
  };
}

/** What a browser says of a connection that broke is for programmers; what an upload of the application's throws is for whoever looks. */
function toldOf(error: unknown): Problem {
  if (error instanceof Problem && error.code !== 'unreachable') return error;
  if (error instanceof Problem || error instanceof TypeError) return new Problem('unreachable', brokenOff);
  return new Problem('upload_failed', error instanceof Error ? error.message : String(error));
}

/**
 * To the server's own store: `PUT uploads/{name}` with the bytes. By XMLHttpRequest, since `fetch` does not tell how much of a body has gone.
 * `getToken` as the connection has it; without it the cookie goes along.
 */
export function putUpload(connection: Pick<Connection, 'url'>, tenant: string, getToken?: () => string | null | Promise<string | null>): Upload {
  return async (file, { onProgress, signal }) => {
    const token = (await getToken?.()) ?? null;
    signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      const unreachable = () => reject(new Problem('unreachable', brokenOff));
      request.open('PUT', new URL(`/v1/tenants/${encodeURIComponent(tenant)}/uploads/${encodeURIComponent(file.name)}`, connection.url));
      if (token !== null) request.setRequestHeader('authorization', `Bearer ${token}`);
      request.setRequestHeader('content-type', file.type || 'application/octet-stream');
      request.responseType = 'json';
      request.upload.onprogress = ({ loaded, total }) => total > 0 && onProgress((100 * loaded) / total);
      request.onload = () => {
        const answer = (request.response ?? {}) as { url?: unknown; code?: unknown; detail?: unknown };
        if (request.status === 201 && typeof answer.url === 'string') resolve({ url: answer.url });
        else reject(new Problem(String(answer.code ?? 'unreachable'), String(answer.detail ?? `The server answered ${request.status}.`), request.status));
      };
      request.onerror = unreachable;
      request.onabort = () => reject(signal.aborted ? signal.reason : new Problem('unreachable', brokenOff));
      signal.addEventListener('abort', () => request.abort(), { once: true });
      request.send(file);
    });
  };
}
