import { cell, type Store } from './store';

/**
 * The uploads of one user in one browser, kept in localStorage so that they outlive navigation and reloads and are the same in all tabs.
 * It holds what is known, and knows nothing of networks: `uploading.ts` sends files, `progress.ts` follows what the server makes of them.
 */
export interface Uploads extends Store<readonly UploadItem[]> {
  /** Returns the id it was given. */
  add(upload: Omit<UploadItem, 'id' | 'startTime' | 'lastUpdated'>): string;
  update(id: string, updates: Partial<UploadItem>): void;
  remove(id: string): void;
  /** Takes away all that are complete or have failed. */
  clearCompleted(): void;
}

export interface UploadItem {
  id: string;
  fileName: string;
  status: 'uploading' | 'processing' | 'complete' | 'failed';
  /** 0 to 100 of the upload, later of the processing. */
  progress: number;
  tenantId: string;
  documentId?: string;
  error?: string;
  startTime: number;
  lastUpdated: number;
  /** Whose it is: another user of the same browser does not see it. */
  userId?: string;
  /** Of the processing, as the server calls it. */
  stage?: string | null;
  /** Where the file lies, once it was sent. */
  url?: string;
  /** The page that sent it has gone before the end: the file must be chosen again. */
  interrupted?: boolean;
}

const key = 'document-uploads';
const dayMs = 24 * 60 * 60 * 1000;
/** A page that sends says so this often; one that was silent for `silentMs` has gone without a word. */
const signMs = 5000;
const silentMs = 20_000;
/** Progress is written to storage, and so to other tabs, this often at most. */
const writeMs = 250;

export interface UploadsOptions {
  tenant?: string | null;
  user?: string | null;
  storage?: Storage | null;
}

export function uploads({ tenant = null, user = null, storage = globalThis.localStorage ?? null }: UploadsOptions = {}): Uploads {
  /** Sent by this page: only these may be called interrupted when it goes. */
  const own = new Set<string>();
  let all: UploadItem[] = [];
  let timer: ReturnType<typeof setTimeout> | null = null;
  const shown = cell<readonly UploadItem[]>([], begin);

  const mine = (item: UploadItem) => (tenant === null || item.tenantId === tenant) && (user === null || item.userId === undefined || item.userId === user);
  const same = (a: readonly UploadItem[], b: readonly UploadItem[]) => a.length === b.length && a.every((item, index) => item === b[index]);
  const show = () => {
    const next = all.filter(mine);
    if (!same(next, shown.get())) shown.set(next);
  };

  function read(): UploadItem[] {
    try {
      const found: unknown = JSON.parse(storage?.getItem(key) ?? '[]');
      return Array.isArray(found) ? found.filter(isItem).filter(({ lastUpdated }) => Date.now() - lastUpdated < dayMs) : [];
    } catch (error) {
      console.error(`tidings: ${key} could not be read`, error);
      return [];
    }
  }

  function write() {
    if (timer) clearTimeout(timer);
    timer = null;
    try {
      storage?.setItem(key, JSON.stringify(all));
    } catch (error) {
      console.error(`tidings: ${key} could not be kept`, error);
    }
  }

  function set(next: UploadItem[], soon = false) {
    all = next;
    show();
    if (!soon) write();
    else timer ??= setTimeout(write, writeMs);
  }

  /** Another tab has written. Of what this page sends, this page knows better. */
  function heed() {
    const here = new Map(all.map((item) => [item.id, item]));
    const there = read();
    all = there.map((item) => {
      const known = here.get(item.id);
      return known && (own.has(item.id) || JSON.stringify(known) === JSON.stringify(item)) ? known : item;
    });
    show();
  }

  function lookForGone() {
    const now = Date.now();
    const gone = (item: UploadItem) => item.status === 'uploading' && !own.has(item.id) && now - item.lastUpdated > silentMs;
    if (all.some(gone)) set(all.map((item) => (gone(item) ? { ...item, ...interrupted, lastUpdated: now } : item)));
  }

  function begin() {
    heed();
    write(); // What is older than a day is gone from storage too.
    if (typeof window === 'undefined') return () => {};
    const stored = (event: StorageEvent) => event.key === key && heed();
    const hide = () => {
      const now = Date.now();
      if (own.size) set(all.map((item) => (own.has(item.id) && item.status === 'uploading' ? { ...item, ...interrupted, lastUpdated: now } : item)));
      else if (timer) write();
    };
    const sign = setInterval(() => {
      const now = Date.now();
      if (all.some((item) => own.has(item.id) && item.status === 'uploading')) {
        set(all.map((item) => (own.has(item.id) && item.status === 'uploading' ? { ...item, lastUpdated: now } : item)));
      }
      lookForGone();
    }, signMs);
    lookForGone();
    window.addEventListener('storage', stored);
    window.addEventListener('pagehide', hide);
    return () => {
      clearInterval(sign);
      window.removeEventListener('storage', stored);
      window.removeEventListener('pagehide', hide);
    };
  }

  return {
    get: shown.get,
    subscribe: shown.subscribe,
    add(upload) {
      const now = Date.now();
      const id = `upload_${now}_${Math.random().toString(36).slice(2, 9).padEnd(7, '0')}`;
      if (upload.status === 'uploading') own.add(id);
      set([...all, { ...(user !== null && { userId: user }), ...upload, id, startTime: now, lastUpdated: now }]);
      return id;
    },
    update(id, updates) {
      if (!all.some((item) => item.id === id)) return;
      if (updates.status === 'uploading') own.add(id);
      else if (updates.status) own.delete(id);
      const soon = Object.keys(updates).every((name) => name === 'progress');
      set(all.map((item) => (item.id === id ? { ...item, ...updates, lastUpdated: Date.now() } : item)), soon);
    },
    remove(id) {
      own.delete(id);
      set(all.filter((item) => item.id !== id));
    },
    clearCompleted() {
      set(all.filter((item) => !mine(item) || (item.status !== 'complete' && item.status !== 'failed')));
    },
  };
}

const interrupted: Partial<UploadItem> = { status: 'failed', interrupted: true };

function isItem(item: unknown): item is UploadItem {
  if (typeof item !== 'object' || item === null) return false;
  const { id, fileName, status, tenantId, lastUpdated } = item as Record<string, unknown>;
  return typeof id === 'string' && typeof fileName === 'string' && typeof status === 'string' && typeof tenantId === 'string' && typeof lastUpdated === 'number';
}
