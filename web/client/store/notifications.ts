import type { Connection, Subscription } from '../src/connection';
import type { TidingsEvent } from '../src/event';
import { Problem } from '../src/problem';
import { empty, listed, mark, markAll, put, setList, type Inbox, type Marks } from './inbox';
import { compare, fromRow, queries, tabs, type Counts, type Notification, type Tab } from './notification';
import { optimistic } from './optimistic';
import type { Store } from './store';

/**
 * The notification centre of one user in one tenant. It is live while somebody listens.
 *
 * Lists and events meet by one rule: what an event said since a request was sent outweighs the answer. Counts are exact by the events alone, from the
 * cursor that came with them; only where an event may be in a snapshot already (it came near a request) or is about a notification that was
 * never loaded, the server is asked for them again. So a quiet page asks for nothing, and a count that is wrong does not stay so.
 */
export interface Notifications extends Store<Inbox> {
  readonly tenant: string;
  /** Loads a tab, unless it is loaded. After a failure: again. */
  open(tab: Tab): Promise<void>;
  /** The next older ones. */
  more(tab: Tab): Promise<void>;
  /** Throws a `Problem` after the change was taken back. */
  mark(id: string, marks: Pick<Marks, 'read' | 'archived'>): Promise<void>;
  markAllRead(): Promise<void>;
  /** The user has looked: nothing is unseen any more. */
  see(): Promise<void>;
  /** Until the returned function is called, what arrives is counted and held back, so that a list under the reader's eyes does not move. */
  hold(): () => void;
  /** Lets in what was held back so far. */
  letIn(): void;
  /** Everything that is loaded, anew. */
  reload(): Promise<void>;
  /** Called with what arrived while live, several at once where they come at once. */
  onArrival(listener: (arrived: readonly Notification[]) => void): () => void;
}

/** Of one page of a list, as many as fill a tall screen. */
const limit = 20;
/** So long after an answer, events may be older than its snapshot: they were on their way. */
const graceMs = 1500;
/** Arrivals of one burst are told at once. */
const burstMs = 250;

interface Page {
  notifications: Notification[];
  cursor: string;
  next: string | null;
  poll_after_ms?: number;
}

export function notifications(connection: Connection, tenant: string): Notifications {
  const path = `/v1/tenants/${encodeURIComponent(tenant)}/notifications`;
  const store = optimistic<Inbox>(empty, begin);
  const listeners = new Set<(arrived: readonly Notification[]) => void>();
  /** At which step an event, or an answer, last spoke of a notification; requests remember the step at which they were sent. */
  const touched = new Map<string, number>();
  /** One change after the other for each notification: two requests could overtake each other. */
  const turns = new Map<string, Promise<unknown>>();
  const timers = new Map<'check' | 'burst' | 'poll', ReturnType<typeof setTimeout>>();
  let arrived: Notification[] = [];
  let step = 0;
  let reloads = 0;
  let asked = 0;
  let answeredAt = 0;
  let holders = 0;
  let live: Subscription | null = null;
  let running = 0;

  const after = (name: 'check' | 'burst' | 'poll', ms: number, run: () => void) => {
    if (timers.has(name)) return;
    timers.set(name, setTimeout(() => (timers.delete(name), run()), ms));
  };

  async function ask<Answer>(method: string, rest: string, body?: unknown): Promise<Answer> {
    asked++;
    try {
      return await connection.request<Answer>(method, path + rest, body);
    } finally {
      asked--;
      answeredAt = Date.now();
    }
  }

  function begin() {
    const run = ++running;
    void (async () => {
      const cursor = await count();
      if (run !== running) return;
      live = connection.subscribe(
        { tenant, types: ['notifications.*'], after: cursor },
        {
          event: (event) => hear(event as TidingsEvent),
          reset: () => void reload(),
          ready: () => {
            for (const tab of tabs) if (store.facts().lists[tab].state === 'failed') void load(tab);
            if (!store.facts().counts) after('check', 0, check);
          },
          // Nothing is pushed to this user: then it is asked for, as often as the server says.
          error: () => after('poll', 0, poll),
        },
      );
    })();
    if (tabs.some((tab) => store.facts().lists[tab].state === 'ready')) void reload();
    return () => {
      running++;
      live?.close();
      live = null;
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    };
  }

  function hear({ type, subject, data }: TidingsEvent) {
    step++;
    if (asked || Date.now() - answeredAt < graceMs) after('check', graceMs, check);
    const known = subject === undefined ? null : (store.facts().notifications.get(subject) ?? null);
    if (subject !== undefined) touched.set(subject, step);
    const row = fromRow(data);
    if (type === 'notifications.inserted' && row) {
      if (known) return;
      store.learn((inbox) => {
        const next = put(inbox, row.id, row);
        return holders ? { ...next, held: new Set(next.held).add(row.id) } : next;
      });
      arrived.push(row);
      after('burst', burstMs, () => {
        const all = arrived;
        arrived = [];
        for (const listener of [...listeners]) listener(all);
      });
    } else if (type === 'notifications.updated' && row) {
      if (known) store.learn((inbox) => put(inbox, row.id, { ...row, created_by: known.created_by, seen: known.seen, read: known.read, archived: known.archived }));
    } else if (type === 'notifications.deleted' && subject !== undefined) {
      if (known) store.learn((inbox) => put(inbox, subject, null));
      else after('check', graceMs, check);
    } else if (type === 'notifications.read') {
      const { id, read, archived } = (data ?? {}) as { id?: string | null; read?: boolean; archived?: boolean | null };
      if (typeof id !== 'string') store.learn((inbox) => markAll(inbox, { read: true }));
      else if (known) store.learn((inbox) => mark(inbox, id, { read: !!read, archived: !!archived }));
      // Another window has moved one that this one never loaded: it may belong into a list now.
      else if (tabs.some((tab) => store.facts().lists[tab].state !== 'idle')) void reload();
      else after('check', graceMs, check);
    } else if (type === 'notifications.seen') {
      store.learn((inbox) => markAll(inbox, { seen: true }));
    } else {
      void reload();
    }
  }

  /** The counts, and the cursor they were read at. Null where they could not be read. */
  async function count(): Promise<string | null> {
    const sent = step;
    try {
      const { counts, cursor } = await ask<{ counts: Counts; cursor: string }>('GET', '/counts');
      // What came meanwhile may be in them or not. Then they are asked for once more, unless there are none yet.
      if (sent !== step && store.facts().counts) after('check', graceMs, check);
      else store.learn((inbox) => ({ ...inbox, counts }));
      return cursor;
    } catch {
      return null; // A server without counts: lists work, numbers are left out. Unreachable: `ready` asks again.
    }
  }

  async function check() {
    await count();
    const inbox = store.facts();
    // A list that is loaded to its end is as long as its count says, or one of the two is wrong.
    const wrong = tabs.some((tab) => {
      const { state, next } = inbox.lists[tab];
      return state === 'ready' && next === null && inbox.counts && listed({ ...inbox, held: new Set() }, tab).length !== inbox.counts[tab];
    });
    if (wrong && !timers.has('check')) await reload();
  }

  function poll() {
    void reload().then(() => after('poll', 15_000, poll));
  }

  const first = (tab: Tab) => ask<Page>('GET', `?limit=${Math.min(100, Math.max(limit, listed(store.facts(), tab).length))}${queries[tab]}`);

  async function load(tab: Tab) {
    const sent = step;
    store.learn((inbox) => setList(inbox, tab, { state: 'loading', problem: null }));
    try {
      const page = await first(tab);
      store.learn((inbox) => begun(take(inbox, page, sent), tab, page));
    } catch (problem) {
      store.learn((inbox) => setList(inbox, tab, { state: 'failed', problem: asProblem(problem) }));
    }
  }

  /** All that is loaded, at one stroke: what no list names and one should is gone. A list that cannot be had stays as it is on the screen. */
  async function reload() {
    const mine = ++reloads;
    const sent = step;
    const wanted = tabs.filter((tab) => store.facts().lists[tab].state === 'ready');
    for (const tab of tabs) if (store.facts().lists[tab].state === 'failed') void load(tab);
    const [pages] = await Promise.all([Promise.all(wanted.map(async (tab) => [tab, await first(tab).catch(() => null)] as const)), count()]);
    // A later one knows better.
    if (mine !== reloads) return;
    store.learn((inbox) => {
      const named = new Set(pages.flatMap(([, page]) => page?.notifications.map(({ id }) => id) ?? []));
      for (const [, page] of pages) if (page) inbox = take(inbox, page, sent);
      for (const [tab, page] of pages) if (page) inbox = begun(inbox, tab, page);
      const notifications = new Map(inbox.notifications);
      for (const [tab, page] of pages) {
        if (page) for (const { id } of listed({ ...inbox, held: new Set() }, tab)) if (!named.has(id) && (touched.get(id) ?? 0) <= sent) notifications.delete(id);
      }
      return { ...inbox, notifications };
    });
  }

  async function more(tab: Tab) {
    const { next, loadingMore, state } = store.facts().lists[tab];
    if (next === null || loadingMore || state !== 'ready') return;
    const sent = step;
    store.learn((inbox) => setList(inbox, tab, { loadingMore: true, problem: null }));
    try {
      const page = await ask<Page>('GET', `?limit=${limit}&before=${encodeURIComponent(next)}${queries[tab]}`);
      // Loaded anew meanwhile: this page belongs to a list that is no more.
      const stale = store.facts().lists[tab].next !== next;
      store.learn((inbox) => (stale ? setList(inbox, tab, { loadingMore: false }) : begun(take(inbox, page, sent), tab, page)));
    } catch (problem) {
      store.learn((inbox) => setList(inbox, tab, { loadingMore: false, problem: asProblem(problem) }));
    }
  }

  /** What an event said since the request was sent outweighs the answer. */
  function take(inbox: Inbox, page: Page, sent: number): Inbox {
    const notifications = new Map(inbox.notifications);
    for (const notification of page.notifications) {
      if ((touched.get(notification.id) ?? 0) <= sent) notifications.set(notification.id, { ...notification, seen: notification.seen ?? notification.read });
    }
    return { ...inbox, notifications };
  }

  function letIn() {
    if (store.facts().held.size) store.learn((inbox) => ({ ...inbox, held: new Set() }));
  }

  function turn<Answer>(id: string, run: () => Promise<Answer>): Promise<Answer> {
    const mine = (turns.get(id) ?? Promise.resolve()).catch(() => {}).then(run);
    turns.set(id, mine);
    void mine.catch(() => {}).then(() => turns.get(id) === mine && turns.delete(id));
    return mine;
  }

  return {
    tenant,
    get: store.get,
    subscribe: store.subscribe,
    more,
    reload,
    async open(tab) {
      const { state } = store.facts().lists[tab];
      if (state === 'idle' || state === 'failed') await load(tab);
    },
    async mark(id, marks) {
      await store.attempt(
        (inbox) => mark(inbox, id, marks),
        () => turn(id, () => ask<Notification>('PATCH', `/${encodeURIComponent(id)}`, marks)),
        (inbox, { read, archived }) => (touched.set(id, ++step), mark(inbox, id, { read, archived })),
      );
    },
    async markAllRead() {
      await store.attempt(
        (inbox) => markAll(inbox, { read: true }),
        () => ask<unknown>('POST', '/read-all'),
        (inbox) => markAll(inbox, { read: true }),
      );
    },
    async see() {
      if (!store.get().counts?.unseen) return;
      await store.attempt(
        (inbox) => markAll(inbox, { seen: true }),
        () => ask<unknown>('POST', '/seen'),
        (inbox) => markAll(inbox, { seen: true }),
      );
    },
    letIn,
    hold() {
      let held = true;
      holders++;
      return () => {
        if (held && --holders === 0) letIn();
        held = false;
      };
    },
    onArrival(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
}

function begun(inbox: Inbox, tab: Tab, { notifications, next }: Page): Inbox {
  return setList(inbox, tab, { state: 'ready', problem: null, loadingMore: false, next, floor: next === null ? null : (notifications.at(-1) ?? null) });
}

function asProblem(error: unknown): Problem {
  return error instanceof Problem ? error : new Problem('unreachable', String(error));
}

const kept = new WeakMap<Connection, Map<string, Notifications>>();

/** The one of a connection and tenant: bell, page and hooks share it, so that they cannot differ. */
export function notificationsOf(connection: Connection, tenant: string): Notifications {
  const of = kept.get(connection) ?? new Map<string, Notifications>();
  kept.set(connection, of);
  const store = of.get(tenant) ?? notifications(connection, tenant);
  of.set(tenant, store);
  return store;
}
