/**
 * One notification as the routes give it, and the four lists it may stand in. Which list and which count a notification belongs to is said here
 * and nowhere else, so that a badge and its list cannot mean different things.
 */
export interface Notification {
  readonly id: string;
  readonly type: string;
  readonly title: string;
  readonly message: string;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly created_at: string;
  readonly created_by: { readonly id: string; readonly name: string | null; readonly email: string | null } | null;
  /** Of the asking user: that it was shown, opened, put away. */
  readonly seen: boolean;
  readonly read: boolean;
  readonly archived: boolean;
}

export const tabs = ['all', 'unread', 'archived', 'documents'] as const;
export type Tab = (typeof tabs)[number];
export type Counts = Readonly<Record<Tab | 'unseen', number>>;

export const belongs: Record<Tab | 'unseen', (notification: Notification) => boolean> = {
  all: ({ archived }) => !archived,
  unread: ({ read, archived }) => !read && !archived,
  unseen: ({ seen, archived }) => !seen && !archived,
  archived: ({ archived }) => archived,
  documents: ({ type, archived }) => !archived && type.startsWith('document_'),
};

/** What the route is asked for. */
export const queries: Record<Tab, string> = { all: '', unread: '&unread=true', archived: '&archived=only', documents: '&types=document_*' };

/** Newest first, as the server sorts. The text decides where milliseconds are equal: the server counts microseconds. */
export function compare(a: Notification, b: Notification): number {
  const milliseconds = Date.parse(b.created_at) - Date.parse(a.created_at);
  if (milliseconds) return milliseconds;
  if (a.created_at !== b.created_at) return a.created_at < b.created_at ? 1 : -1;
  return a.id < b.id ? 1 : a.id > b.id ? -1 : 0;
}

/** The counts after a notification came (`before` null), changed, or went (`after` null). */
export function recount(counts: Counts, before: Notification | null, after: Notification | null): Counts {
  const next = { ...counts };
  for (const name of Object.keys(belongs) as (keyof Counts)[]) {
    const step = Number(!!after && belongs[name](after)) - Number(!!before && belongs[name](before));
    next[name] = Math.max(0, next[name] + step);
  }
  return next;
}

/** The row of an event, in the words of the routes: new to everybody. Null where it is no such row. */
export function fromRow(data: unknown): Notification | null {
  if (typeof data !== 'object' || data === null) return null;
  const row = data as Record<string, unknown>;
  if (typeof row.id !== 'string' || typeof row.created_at !== 'string') return null;
  const by = row.created_by;
  return {
    id: row.id,
    type: String(row.type ?? ''),
    title: String(row.title ?? ''),
    message: String(row.message ?? ''),
    metadata: typeof row.metadata === 'object' && row.metadata !== null ? (row.metadata as Record<string, unknown>) : {},
    created_at: row.created_at,
    created_by: typeof by === 'string' ? { id: by, name: null, email: null } : null,
    seen: false,
    read: false,
    archived: false,
  };
}
