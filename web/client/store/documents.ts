import type { Connection, Subscription } from '../src/connection';
import type { TidingsEvent } from '../src/event';
import { Problem } from '../src/problem';
import { optimistic } from './optimistic';
import type { Store } from './store';

/**
 * A tenant's documents and how far their processing is: a list, and the changes from its cursor on. Live while somebody listens.
 */
export interface Documents extends Store<DocumentList> {
  readonly tenant: string;
  more(): Promise<void>;
  /** Processes one that failed once more. Throws a `Problem` after the change was taken back; with 409 the document is as `current` says. */
  retry(id: string): Promise<void>;
  reload(): Promise<void>;
}

export interface DocumentList {
  readonly state: 'loading' | 'ready' | 'failed';
  readonly problem: Problem | null;
  /** Newest first. */
  readonly documents: readonly DocumentState[];
  readonly next: string | null;
}

export interface DocumentState {
  readonly id: string;
  readonly name: string;
  readonly size: number | null;
  readonly mime_type: string | null;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly status: 'uploaded' | 'processing' | 'processed' | 'failed';
  readonly stage: string | null;
  /** 0 to 100, or null where it is not known. */
  readonly progress: number | null;
  readonly error: { readonly code: string; readonly message: string } | null;
  readonly uploaded_by: string | null;
  readonly created_at: string;
  readonly updated_at: string;
}

const limit = 20;

export function documents(connection: Connection, tenant: string): Documents {
  const path = `/v1/tenants/${encodeURIComponent(tenant)}/documents`;
  const store = optimistic<DocumentList>({ state: 'loading', problem: null, documents: [], next: null }, begin);
  let live: Subscription | null = null;
  let run = 0;
  let step = 0;
  const touched = new Map<string, number>();

  function begin() {
    void load();
    return () => {
      run++;
      live?.close();
      live = null;
    };
  }

  /** The first page; what follows is heard from its cursor, so nothing is missed and nothing comes twice. */
  async function load() {
    const mine = ++run;
    const sent = step;
    try {
      const page = await connection.request<{ documents: DocumentState[]; cursor: string; next: string | null }>('GET', `${path}?limit=${limit}`);
      if (mine !== run) return;
      store.learn((list) => {
        const known = new Map(list.documents.map((document) => [document.id, document]));
        return {
          state: 'ready',
          problem: null,
          documents: page.documents.map((document) => ((touched.get(document.id) ?? 0) > sent ? (known.get(document.id) ?? document) : document)),
          next: page.next,
        };
      });
      live ??= connection.subscribe(
        { tenant, types: ['documents.*'], after: page.cursor },
        {
          event: (event) => hear(event as TidingsEvent),
          reset: () => void load(),
          error: (problem) => store.learn((list) => ({ ...list, problem })),
        },
      );
    } catch (error) {
      if (mine !== run) return;
      const problem = error instanceof Problem ? error : new Problem('unreachable', String(error));
      store.learn((list) => (list.state === 'ready' ? list : { ...list, state: 'failed', problem }));
    }
  }

  function hear({ type, subject, data }: TidingsEvent) {
    if (subject !== undefined) touched.set(subject, ++step);
    if (type === 'documents.inserted' || type === 'documents.updated') store.learn((list) => place(list, data as DocumentState));
    else if (type === 'documents.deleted') store.learn((list) => ({ ...list, documents: list.documents.filter(({ id }) => id !== subject) }));
    else void load();
  }

  return {
    tenant,
    get: store.get,
    subscribe: store.subscribe,
    reload: load,
    async more() {
      const { next } = store.facts();
      if (next === null) return;
      const page = await connection.request<{ documents: DocumentState[]; next: string | null }>('GET', `${path}?limit=${limit}&after=${encodeURIComponent(next)}`);
      store.learn((list) => {
        if (list.next !== next) return list;
        const known = new Set(list.documents.map(({ id }) => id));
        return { ...list, documents: [...list.documents, ...page.documents.filter(({ id }) => !known.has(id))], next: page.next };
      });
    },
    async retry(id) {
      const sent = step;
      await store.attempt(
        (list) => change(list, id, (document) => (document.status === 'failed' ? { ...document, status: 'processing', stage: null, progress: null, error: null } : document)),
        () => connection.request<DocumentState>('POST', `${path}/${encodeURIComponent(id)}/retry`),
        (list, document) => ((touched.get(id) ?? 0) > sent ? list : change(list, id, () => document)),
      );
    },
  };
}

function change(list: DocumentList, id: string, next: (document: DocumentState) => DocumentState): DocumentList {
  return { ...list, documents: list.documents.map((document) => (document.id === id ? next(document) : document)) };
}

/** In its place by age: a document changes often and moves never. One that is older than what was loaded stays where it is: unloaded. */
function place(list: DocumentList, document: DocumentState): DocumentList {
  if (list.documents.some(({ id }) => id === document.id)) return change(list, document.id, (was) => ({ ...was, ...document }));
  const created = Date.parse(document.created_at);
  const index = list.documents.findIndex((other) => Date.parse(other.created_at) <= created);
  if (index < 0) return list.next === null ? { ...list, documents: [...list.documents, document] } : list;
  return { ...list, documents: [...list.documents.slice(0, index), document, ...list.documents.slice(index)] };
}

const kept = new WeakMap<Connection, Map<string, Documents>>();

/** The one of a connection and tenant. */
export function documentsOf(connection: Connection, tenant: string): Documents {
  const of = kept.get(connection) ?? new Map<string, Documents>();
  kept.set(connection, of);
  const store = of.get(tenant) ?? documents(connection, tenant);
  of.set(tenant, store);
  return store;
}
