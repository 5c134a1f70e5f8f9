import { belongs, compare, recount, type Counts, type Notification, type Tab } from './notification';
import type { Problem } from '../src/problem';

/**
 * The notification centre as a value: every known notification once, by id; lists and counts are made of them. The functions here are pure: the
 * store runs them over what the server said, and again over what is only hoped for.
 */
export interface Inbox {
  readonly notifications: ReadonlyMap<string, Notification>;
  /** Null until the server told, and where it cannot. */
  readonly counts: Counts | null;
  readonly lists: Readonly<Record<Tab, List>>;
  /** Arrived while `hold` was on: counted, and not yet in the lists. */
  readonly held: ReadonlySet<string>;
}

export interface List {
  readonly state: 'idle' | 'loading' | 'ready' | 'failed';
  readonly problem: Problem | null;
  /** The oldest that was loaded: below it other lists may know some, but not all. Null: everything is loaded, or nothing. */
  readonly floor: Notification | null;
  /** What to ask for next, null at the end. */
  readonly next: string | null;
  readonly loadingMore: boolean;
}

export type Marks = Partial<Pick<Notification, 'seen' | 'read' | 'archived'>>;

const idle: List = { state: 'idle', problem: null, floor: null, next: null, loadingMore: false };
export const empty: Inbox = { notifications: new Map(), counts: null, lists: { all: idle, unread: idle, archived: idle, documents: idle }, held: new Set() };

/** What a tab shows, newest first. */
export function listed(inbox: Inbox, tab: Tab): readonly Notification[] {
  const { floor } = inbox.lists[tab];
  const found: Notification[] = [];
  for (const notification of inbox.notifications.values()) {
    if (belongs[tab](notification) && !inbox.held.has(notification.id) && (!floor || compare(notification, floor) <= 0)) found.push(notification);
  }
  return found.sort(compare);
}

/** How many a tab would show more, were they not held back. */
export function waiting(inbox: Inbox, tab: Tab): number {
  let count = 0;
  for (const id of inbox.held) {
    const notification = inbox.notifications.get(id);
    if (notification && belongs[tab](notification)) count++;
  }
  return count;
}

/** Puts one in, changes it, or takes it away, and counts along. */
export function put(inbox: Inbox, id: string, after: Notification | null): Inbox {
  const before = inbox.notifications.get(id) ?? null;
  if (!before && !after) return inbox;
  const notifications = new Map(inbox.notifications);
  if (after) notifications.set(id, after);
  else notifications.delete(id);
  return { ...inbox, notifications, counts: inbox.counts && recount(inbox.counts, before, after) };
}

/** The server's own rules: what is archived is read, what is unread leaves the archive, what is read was seen. */
export function mark(inbox: Inbox, id: string, marks: Marks): Inbox {
  const before = inbox.notifications.get(id);
  if (!before) return inbox;
  let { seen, read, archived } = { ...before, ...marks };
  if (marks.read === false) archived = false;
  if (archived) read = true;
  if (read) seen = true;
  return seen === before.seen && read === before.read && archived === before.archived ? inbox : put(inbox, id, { ...before, seen, read, archived });
}

/** All at once, also those that are not loaded. */
export function markAll(inbox: Inbox, marks: { seen?: true; read?: true }): Inbox {
  const notifications = new Map(inbox.notifications);
  for (const [id, notification] of notifications) {
    const read = notification.read || !!marks.read;
    if (!notification.seen || read !== notification.read) notifications.set(id, { ...notification, seen: true, read });
  }
  return { ...inbox, notifications, counts: inbox.counts && { ...inbox.counts, unseen: 0, ...(marks.read && { unread: 0 }) } };
}

export function setList(inbox: Inbox, tab: Tab, change: Partial<List>): Inbox {
  return { ...inbox, lists: { ...inbox.lists, [tab]: { ...inbox.lists[tab], ...change } } };
}
