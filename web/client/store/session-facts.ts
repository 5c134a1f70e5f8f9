/**
 * What is known of a tenant's chat sessions, and how it changes: pure, so that the same change can be a fact or a hope (`optimistic.ts`).
 * Rows are kept once, by id. Lists are windows onto them: which statuses or which search, and how far back they were fetched. So a row that
 * changes is in the right lists at once, and counts cannot drift from what the lists show.
 */
import type { Problem } from '../src/problem';
import { comparePlaces, placeOf, sessionHas, sessionIsIn, sessionStatuses } from './session';
import type { ChatMetrics, ChatSession, SessionPlace, SessionStatus, SessionsView } from './session';

export interface SessionList {
  readonly phase: 'loading' | 'ready' | 'failed';
  readonly problem: Problem | null;
  readonly isLoadingMore: boolean;
  /** How far back it reaches; null before the first page. */
  readonly horizon: SessionPlace | null;
  /** Where the next page begins; null when everything is here. */
  readonly next: string | null;
  /** What the server found for a search: it also looks at names, which rows do not hold. */
  readonly found: ReadonlySet<string>;
}

export interface SessionFacts {
  readonly view: SessionsView;
  readonly rows: ReadonlyMap<string, ChatSession>;
  readonly lists: ReadonlyMap<string, SessionList>;
  /** As of the last metrics, moved on by each change that was seen since. */
  readonly totals: Readonly<Record<SessionStatus, number>> | null;
  readonly metrics: ChatMetrics | null;
  /** Who types in which session, other than answering admins. */
  readonly typing: ReadonlyMap<string, string>;
  /** Who looks at which session. */
  readonly viewers: ReadonlyMap<string, readonly string[]>;
  /** Sessions with a command under way. */
  readonly moving: ReadonlySet<string>;
}

export interface SessionPage {
  readonly sessions: readonly ChatSession[];
  readonly metrics: ChatMetrics | null;
  readonly cursor: string;
  readonly next: string | null;
}

export const emptyList: SessionList = { phase: 'loading', problem: null, isLoadingMore: false, horizon: null, next: null, found: new Set() };

/** Which list serves a view: a search looks through all statuses, so that every tab can say what it has of it. */
export function listOf(view: SessionsView): string {
  return view.q === '' ? view.status : `?${view.q}`;
}

export function withList(facts: SessionFacts, key: string, change: Partial<SessionList>): SessionFacts {
  return { ...facts, lists: new Map(facts.lists).set(key, { ...(facts.lists.get(key) ?? emptyList), ...change }) };
}

/** A row as it is now; `before` says what it was where it was not known. */
export function withRow(facts: SessionFacts, row: ChatSession, before: SessionStatus | null = null): SessionFacts {
  const rows = new Map(facts.rows).set(row.id, row);
  return { ...facts, rows, totals: counted(facts.totals, facts.rows.get(row.id)?.status ?? before, row.status) };
}

export function withoutRow(facts: SessionFacts, id: string, status: SessionStatus): SessionFacts {
  const rows = new Map(facts.rows);
  rows.delete(id);
  return { ...facts, rows, totals: counted(facts.totals, facts.rows.get(id)?.status ?? status, null) };
}

function counted(totals: SessionFacts['totals'], from: SessionStatus | null, to: SessionStatus | null): SessionFacts['totals'] {
  if (!totals || from === to) return totals;
  const next = { ...totals };
  if (from) next[from] = Math.max(0, next[from] - 1);
  if (to) next[to] += 1;
  return next;
}

/** What it was before an update of a row that is not here: sessions only go forwards. */
export function statusBefore(row: ChatSession, changed: readonly string[]): SessionStatus {
  if (!changed.includes('status')) return row.status;
  if (row.status === 'archived') return 'ended';
  return row.status === 'ended' && row.started_at !== null ? 'active' : 'waiting';
}

/** The first page, the one behind those that are here, or the first one looked at again for what is new in it. */
export type PageOf = 'first' | 'next' | 'again';

/** A page of a list. Rows that `newer` names have changed since it was asked for, and stay as they are. */
export function withPage(facts: SessionFacts, key: string, page: SessionPage, which: PageOf, newer: (id: string) => boolean): SessionFacts {
  const list = facts.lists.get(key) ?? emptyList;
  let next = facts;
  for (const session of page.sessions) {
    if (newer(session.id)) continue;
    // A row that was not known is in the totals already: they are of all sessions.
    next = withRow(next, session, session.status);
  }
  const last = page.sessions.at(-1);
  const found = new Set(which === 'first' ? [] : list.found);
  for (const session of page.sessions) found.add(session.id);
  if (which === 'again') return withList(next, key, { found });
  return withList(next, key, { phase: 'ready', problem: null, isLoadingMore: false, horizon: last ? placeOf(last) : list.horizon, next: page.next, found });
}

function reaches(list: SessionList, row: ChatSession): boolean {
  return list.next === null || list.horizon === null || comparePlaces(placeOf(row), list.horizon) <= 0;
}

function rowsOf(facts: SessionFacts, view: SessionsView): ChatSession[] {
  const list = facts.lists.get(listOf(view)) ?? emptyList;
  const isFound = (row: ChatSession) => view.q === '' || list.found.has(row.id) || sessionHas(row, view.q);
  return [...facts.rows.values()].filter((row) => sessionIsIn(row, view.status, view.assignee) && isFound(row) && reaches(list, row));
}

/** What the view shows, newest first. */
export function shownSessions(facts: SessionFacts): ChatSession[] {
  return rowsOf(facts, facts.view)
    .map((row) => ({ row, place: placeOf(row) }))
    .sort((a, b) => comparePlaces(a.place, b.place))
    .map(({ row }) => row);
}

/** How many; `atLeast` where there may be more than were fetched. */
export interface SessionCount {
  readonly count: number;
  readonly atLeast: boolean;
}

/** How many sessions of each status there are, whatever is searched for; null before it is known. */
export function totalsOf(facts: SessionFacts): Record<SessionStatus, number> | null {
  if (!facts.totals) return null;
  const totals = { ...facts.totals };
  for (const status of sessionStatuses) {
    const list = facts.lists.get(status);
    if (list?.phase === 'ready' && list.next === null) totals[status] = rowsOf(facts, { status, q: '', assignee: undefined }).length;
  }
  return totals;
}

/** How many the view would show under each status; null where nothing was fetched that could tell. */
export function countsOf(facts: SessionFacts): Record<SessionStatus, SessionCount | null> {
  const { q, assignee } = facts.view;
  const totals = q === '' && assignee === undefined ? totalsOf(facts) : null;
  const count = (status: SessionStatus): SessionCount | null => {
    if (totals) return { count: totals[status], atLeast: false };
    const view = { status, q, assignee };
    const list = facts.lists.get(listOf(view));
    return list?.phase === 'ready' ? { count: rowsOf(facts, view).length, atLeast: list.next !== null } : null;
  };
  return { waiting: count('waiting'), active: count('active'), ended: count('ended'), archived: count('archived') };
}
