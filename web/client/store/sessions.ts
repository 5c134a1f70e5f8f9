/**
 * The chat sessions of a tenant for its admins: lists by status and search, kept in step by events, with metrics, who types and who looks.
 *
 * A list is fetched with its cursor and followed from there, so each change is seen once, in the list or as an event. Further pages come of later
 * snapshots: what an event has told since the page was asked for stays as it is. While commands are under way their outcome is shown; a
 * refusal takes that back, and a conflict brings the row as it is.
 */
import type { Connection, Subscription } from '../src/connection';
import type { TidingsEvent } from '../src/event';
import type { Problem } from '../src/problem';
import { optimistic } from './optimistic';
import { passing, problemOf } from './refusal';
import type { Store } from './store';
import { canMove, instant, moved, sessionHas } from './session';
import type { ChatMetrics, ChatSession, SessionMove, SessionStatus, SessionsView } from './session';
import { countsOf, emptyList, listOf, shownSessions, statusBefore, totalsOf, withList, withoutRow, withPage, withRow } from './session-facts';
import type { PageOf, SessionCount, SessionFacts, SessionPage } from './session-facts';
import { turns } from './turns';

/** Who types says so again while they do. */
const typingMs = 5000;
/** A search asks for names that only the server knows; new sessions come in bursts. */
const lookAgainMs = 1000;
const retryMs = { first: 1000, last: 15_000 };

export interface SessionsState {
  readonly view: SessionsView;
  /** What the view shows, newest first. */
  readonly sessions: readonly ChatSession[];
  /** The first page of this view is under way. `sessions` holds what was known before. */
  readonly isLoading: boolean;
  readonly isLoadingMore: boolean;
  readonly hasMore: boolean;
  /** Why the view could not be fetched. It is tried again by itself unless it was refused. */
  readonly problem: Problem | null;
  readonly counts: Readonly<Record<SessionStatus, SessionCount | null>>;
  /** By status in step with the lists; times and rate as the server last told. */
  readonly metrics: ChatMetrics | null;
  readonly typing: ReadonlyMap<string, string>;
  readonly viewers: ReadonlyMap<string, readonly string[]>;
  readonly moving: ReadonlySet<string>;
}

/** Something that somebody should look at: a session that waits, or what a user said. */
export interface ChatNews {
  readonly kind: 'waiting' | 'message';
  readonly session: string;
}

/** What became of each session of a bulk command. */
export interface MovedSessions {
  readonly done: readonly string[];
  readonly refused: readonly { readonly id: string; readonly problem: Problem }[];
}

export interface Sessions extends Store<SessionsState> {
  /** Changes what is looked at; fetches it unless it is here. */
  show(view: Partial<SessionsView>): void;
  loadMore(): Promise<void>;
  /** Fetches the view anew. */
  refresh(): Promise<void>;
  /** As it is known, whatever the view. */
  session(id: string): ChatSession | undefined;
  /** Fetches one that no list has brought. */
  fetch(id: string): Promise<ChatSession>;
  /** `assignee`: the caller where it is left out. Refusals are thrown; of a conflict the row is shown as it is now. */
  move(id: string, move: SessionMove, assignee?: string): Promise<ChatSession>;
  /** Several, some at a time. Refusals are told, not thrown. */
  moveAll(ids: readonly string[], move: SessionMove, assignee?: string, onProgress?: (done: number) => void): Promise<MovedSessions>;
  onNews(listener: (news: ChatNews) => void): () => void;
}

/**
 * The store of one tenant. It is live while it has subscribers. `sub` is who asks, to show an assignment before the server has answered.
 *
 * ```ts
 * const sessions = chatSessions(connection, { tenant: 'acme', sub: 'ada' });
 * sessions.subscribe(() => render(sessions.get()));
 * ```
 */
export function chatSessions(
  connection: Connection,
  { tenant = connection.tenant ?? '', sub = null, view, limit = 50 }: { tenant?: string; sub?: string | null; view?: Partial<SessionsView>; limit?: number } = {},
): Sessions {
  const base = `/v1/tenants/${encodeURIComponent(tenant)}/chat`;
  const store = optimistic<SessionFacts>(
    {
      view: { status: 'waiting', q: '', assignee: undefined, ...view },
      rows: new Map(), lists: new Map(), totals: null, metrics: null, typing: new Map(), viewers: new Map(), moving: new Set(),
    },
    begin,
  );
  const news = new Set<(news: ChatNews) => void>();
  const queue = turns(4);
  /** When an event last told of a row, by a clock that counts events. */
  const told = new Map<string, number>();
  let clock = 0;
  /** Answers to what was asked before this changed are of no use. */
  let era = 0;
  let subscription: Subscription<TidingsEvent> | null = null;
  let isLive = false;
  const timers = new Map<string, ReturnType<typeof setTimeout>>();

  function begin(): () => void {
    isLive = true;
    void restart();
    return () => {
      isLive = false;
      era += 1;
      subscription?.close();
      subscription = null;
      for (const timer of timers.values()) clearTimeout(timer);
      timers.clear();
    };
  }

  function later(name: string, milliseconds: number, then: () => void): void {
    clearTimeout(timers.get(name));
    timers.set(name, setTimeout(() => {
      timers.delete(name);
      then();
    }, milliseconds));
  }

  /** Everything anew; what is shown stays until the answer is here. `from` is where a reset has left the subscription. */
  async function restart(attempt = 0): Promise<void> {
    if (!isLive) return;
    const mine = (era += 1);
    const { view } = store.facts();
    const key = listOf(view);
    const since = clock;
    store.learn((facts) => withList(facts, key, { phase: 'loading' }));
    try {
      const page = await ask(view, null);
      if (mine !== era) return;
      store.learn((facts) => {
        const kept = new Map([...facts.rows].filter(([id]) => isNewer(id, since)));
        return withPage({ ...facts, rows: kept, lists: new Map(), totals: page.metrics?.sessions ?? null, metrics: page.metrics }, key, page, 'first', (id) => isNewer(id, since));
      });
      if (!subscription) follow(page.cursor);
      void lookAround();
      // Another view may have been chosen meanwhile.
      load();
    } catch (error) {
      if (mine !== era) return;
      const problem = problemOf(error);
      store.learn((facts) => withList(facts, key, { phase: 'failed', problem }));
      if (passing(problem)) later('again', problem.retryAfterMs ?? Math.min(retryMs.last, retryMs.first * 2 ** attempt), () => void restart(attempt + 1));
    }
  }

  function isNewer(id: string, since: number): boolean {
    return (told.get(id) ?? -1) > since;
  }

  function ask(view: SessionsView, before: string | null): Promise<SessionPage> {
    const query = new URLSearchParams({ limit: String(limit) });
    if (view.q !== '') query.set('q', view.q);
    else if (view.status !== 'all') query.set('status', view.status);
    if (before !== null) query.set('before', before);
    return connection.request<SessionPage>('GET', `${base}/sessions?${query}`);
  }

  /** One page of the view that is looked at, unless it is there or under way. */
  async function page(which: PageOf): Promise<void> {
    const { view, lists } = store.facts();
    const key = listOf(view);
    const list = lists.get(key) ?? emptyList;
    const isMore = which === 'next';
    if (!isLive || (isMore && (list.isLoadingMore || list.next === null))) return;
    const [mine, since] = [era, clock];
    store.learn((facts) => withList(facts, key, isMore ? { isLoadingMore: true } : { phase: list.phase === 'ready' ? 'ready' : 'loading' }));
    try {
      const found = await ask(view, isMore ? list.next : null);
      if (mine === era && store.facts().lists.has(key)) store.learn((facts) => withPage(facts, key, found, which, (id) => isNewer(id, since)));
    } catch (error) {
      if (mine !== era) return;
      const problem = problemOf(error);
      store.learn((facts) => withList(facts, key, { problem, isLoadingMore: false, ...(which === 'first' ? { phase: 'failed' as const } : {}) }));
      if (which === 'first' && passing(problem)) later('again', problem.retryAfterMs ?? retryMs.first, load);
    }
  }

  /** Fetches the view where nothing of it is here. */
  function load(): void {
    const list = store.facts().lists.get(listOf(store.facts().view));
    if (!list || list.phase === 'failed') void page('first');
  }

  /** Who looks at what; told by events from then on, which are live only. */
  async function lookAround(): Promise<void> {
    const since = clock;
    try {
      const { sessions } = await connection.request<{ sessions: Record<string, readonly { sub: string }[]> }>('GET', `${base}/presence`);
      store.learn((facts) => {
        const viewers = new Map([...facts.viewers].filter(([id]) => isNewer(`viewers ${id}`, since)));
        for (const [id, looking] of Object.entries(sessions)) if (!isNewer(`viewers ${id}`, since)) viewers.set(id, looking.map(({ sub }) => sub));
        return { ...facts, viewers };
      });
    } catch {
      // It is told at the next change.
    }
  }

  function follow(cursor: string): void {
    const types = ['chat_sessions.*', 'chat_messages.inserted', 'chat.metrics', 'chat.typing', 'chat.presence'];
    subscription = connection.subscribe({ tenant, types, after: cursor }, {
      event: (event) => event.tenant === tenant && hear(event),
      reset: () => void restart(),
      ready: ({ again }) => {
        if (again) void lookAround();
      },
      error: (problem) => {
        subscription = null;
        store.learn((facts) => withList(facts, listOf(facts.view), { phase: 'failed', problem }));
      },
    });
  }

  function hear(event: TidingsEvent): void {
    clock += 1;
    const id = event.subject ?? '';
    switch (event.type) {
      case 'chat_sessions.inserted':
      case 'chat_sessions.updated':
        told.set(id, clock);
        if (event.truncated) void fetchOne(id).catch(() => {});
        else learnRow(event as TidingsEvent<string, ChatSession>);
        break;
      case 'chat_sessions.deleted':
        told.set(id, clock);
        store.learn((facts) => withoutRow(facts, id, (event.data as Partial<ChatSession> | undefined)?.status ?? 'archived'));
        break;
      case 'chat_sessions.truncated':
        void restart();
        break;
      case 'chat.metrics': {
        const metrics = event.data as ChatMetrics;
        store.learn((facts) => ({ ...facts, metrics, totals: metrics.sessions }));
        break;
      }
      case 'chat.typing': {
        const { sub: who, role } = event.data as { sub: string; role: string };
        if (role !== 'user') break;
        store.learn((facts) => ({ ...facts, typing: new Map(facts.typing).set(id, who) }));
        later(`typing ${id}`, typingMs, () => endTyping(id));
        break;
      }
      case 'chat.presence': {
        told.set(`viewers ${id}`, clock);
        const looking = (event.data as { viewers: readonly string[] }).viewers;
        store.learn((facts) => {
          const viewers = new Map(facts.viewers);
          if (looking.length) viewers.set(id, looking);
          else viewers.delete(id);
          return { ...facts, viewers };
        });
        break;
      }
      case 'chat_messages.inserted':
        if ((event.data as { role?: string } | undefined)?.role !== 'user') break;
        endTyping(id);
        tell({ kind: 'message', session: id });
        break;
    }
  }

  function endTyping(id: string): void {
    store.learn((facts) => {
      if (!facts.typing.has(id)) return facts;
      const typing = new Map(facts.typing);
      typing.delete(id);
      return { ...facts, typing };
    });
  }

  function learnRow(event: TidingsEvent<string, ChatSession>): void {
    const isNew = event.type === 'chat_sessions.inserted';
    const known = store.facts().rows.get(event.data.id);
    const row = { ...known, ...event.data };
    store.learn((facts) => withRow(facts, row, isNew ? null : statusBefore(row, event.changed?.split(',') ?? [])));
    if (!isNew || known) return;
    if (row.status === 'waiting') tell({ kind: 'waiting', session: row.id });
    const { q } = store.facts().view;
    if (q !== '' && !sessionHas(row, q)) later('look', lookAgainMs, () => void page('again'));
  }

  function tell(what: ChatNews): void {
    for (const listener of [...news]) listener(what);
  }

  async function fetchOne(id: string): Promise<ChatSession> {
    const since = clock;
    const session = await connection.request<ChatSession>('GET', `${base}/sessions/${encodeURIComponent(id)}`);
    if (!isNewer(id, since)) store.learn((facts) => withRow(facts, session, session.status));
    return store.facts().rows.get(id) ?? session;
  }

  /** The answer to a command may come behind the event of a later one. */
  function settled(facts: SessionFacts, session: ChatSession): SessionFacts {
    const known = facts.rows.get(session.id);
    return known && instant(known.updated_at) > instant(session.updated_at) ? facts : withRow(facts, session, session.status);
  }

  function move(id: string, what: SessionMove, assignee?: string): Promise<ChatSession> {
    const hope = (facts: SessionFacts): SessionFacts => {
      const row = facts.rows.get(id);
      const next = row && canMove(row, what) ? withRow(facts, moved(row, what, assignee ?? sub)) : facts;
      return { ...next, moving: new Set(next.moving).add(id) };
    };
    return store.attempt(hope, () => queue(() => command(id, what, assignee)), settled);
  }

  async function command(id: string, what: SessionMove, assignee: string | undefined, isAgain = false): Promise<ChatSession> {
    try {
      return await connection.command<ChatSession>(`chat.${what}`, { tenant, session: id, ...(assignee === undefined ? {} : { assignee }) });
    } catch (error) {
      const problem = problemOf(error);
      const current = problem.current as ChatSession | null;
      if (problem.code === 'conflict' && current?.id === id) store.learn((facts) => settled(facts, current));
      if (problem.code !== 'unreachable' || isAgain) throw problem;
      // It may have been done, and only the answer was lost: look, and try once more where it was not.
      const now = await fetchOne(id).catch(() => null);
      if (now && canMove(now, what)) return command(id, what, assignee, true);
      if (now && now.status === moved(now, what, null).status && (what !== 'assign' || now.assigned_to === (assignee ?? sub))) return now;
      throw problem;
    }
  }

  let seen: { facts: SessionFacts; state: SessionsState } | null = null;
  return {
    get() {
      const facts = store.get();
      if (seen?.facts !== facts) seen = { facts, state: stateOf(facts) };
      return seen.state;
    },
    subscribe: store.subscribe,
    show(change) {
      store.learn((facts) => {
        const view = { ...facts.view, ...change };
        const lists = new Map([...facts.lists].filter(([key]) => !key.startsWith('?') || key === listOf(view)));
        return { ...facts, view, lists };
      });
      // Before the first answer the cursor of that one is what everything follows.
      if (isLive && subscription) load();
    },
    loadMore: () => page('next'),
    refresh: () => restart(),
    session: (id) => store.get().rows.get(id),
    fetch: fetchOne,
    move,
    async moveAll(ids, what, assignee, onProgress) {
      const done: string[] = [];
      const refused: { id: string; problem: Problem }[] = [];
      await Promise.all(ids.map(async (id) => {
        try {
          await move(id, what, assignee);
          done.push(id);
        } catch (error) {
          refused.push({ id, problem: problemOf(error) });
        }
        onProgress?.(done.length + refused.length);
      }));
      return { done, refused };
    },
    onNews(listener) {
      news.add(listener);
      return () => news.delete(listener);
    },
  };
}

function stateOf(facts: SessionFacts): SessionsState {
  const list = facts.lists.get(listOf(facts.view)) ?? emptyList;
  const totals = totalsOf(facts);
  return {
    view: facts.view,
    sessions: shownSessions(facts),
    isLoading: list.phase === 'loading',
    isLoadingMore: list.isLoadingMore,
    hasMore: list.next !== null,
    problem: list.problem,
    counts: countsOf(facts),
    metrics: facts.metrics && totals ? { ...facts.metrics, sessions: totals } : facts.metrics,
    typing: facts.typing,
    viewers: facts.viewers,
    moving: facts.moving,
  };
}
