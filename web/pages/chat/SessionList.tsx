/**
 * The chats of the view, keyed by id and patched in place. New ones come on top, and whoever has scrolled down stays where they are and is told how
 * many came. The focus is the keyboard's cursor; when its row goes, it is on the one that took the place.
 */
import { useEffect, useLayoutEffect, useRef, useState, type RefObject } from 'react';
import { Icon } from '../../client/react/icons';
import { usePointing } from '../../client/react/usePointing';
import { comparePlaces, placeOf, type ChatSession, type SessionPlace } from '../../client/store/session';
import type { Sessions, SessionsState } from '../../client/store/sessions';
import { texts } from '../texts';
import { SessionRow } from './SessionRow';

export interface SessionListProps {
  sessions: Sessions;
  state: SessionsState;
  open: string | null;
  selected: ReadonlySet<string>;
  unread: ReadonlySet<string>;
  me: string;
  onOpen(id: string): void;
  onSelect(id: string, isRange: boolean): void;
}

const words = texts.chat;
const nearTop = 48;

export function SessionList({ sessions, state, open, selected, unread, me, onOpen, onSelect }: SessionListProps) {
  const box = useRef<HTMLDivElement>(null);
  const { rows, isSteady, isLeaving } = useSteady(box, sessions, state);
  const { isAway, fresh, backToTop } = useFresh(box, state, isSteady);
  useAnchor(box, rows);
  useFocusKept(box, rows.map(({ id }) => id));
  const end = useEnd(() => void sessions.loadMore(), rows.length);

  const { status, q, assignee } = state.view;
  const name = status === 'all' ? words.title : words.statuses[status];
  const isFiltered = q !== '' || assignee !== undefined;
  return (
    <div className="list" ref={box} id="sessions" role="tabpanel" aria-label={words.list(name)} aria-busy={state.isLoading}>
      {isAway && fresh > 0 && <div className="list-fresh"><button type="button" className="t-pill" onClick={backToTop}>{words.fresh(fresh)}</button></div>}
      {state.problem && rows.length === 0 ? (
        <div className="t-empty" role="alert">
          <Icon name="alert" />
          <strong>{words.failed}</strong>
          <p>{state.problem.detail}</p>
          <button type="button" className="t-button" onClick={() => void sessions.refresh()}>{words.tryAgain}</button>
        </div>
      ) : state.isLoading && rows.length === 0 ? (
        <Loading />
      ) : rows.length === 0 && !state.hasMore ? (
        <div className="t-empty">
          <Icon name={isFiltered ? 'search' : 'chat'} />
          <strong>{isFiltered ? words.nothingFound(name) : words.empty[status === 'all' ? 'waiting' : status].title}</strong>
          <p>{isFiltered ? words.nothingFoundWhy : words.empty[status === 'all' ? 'waiting' : status].why}</p>
          {isFiltered && <button type="button" className="t-button" onClick={() => sessions.show({ q: '', assignee: undefined })}>{words.resetFilter}</button>}
        </div>
      ) : (
        <>
          <ul className="t-list" role="list">
            {rows.map((session) => (
              <SessionRow
                key={session.id}
                session={session}
                isOpen={session.id === open}
                isSelected={selected.has(session.id)}
                isUnread={unread.has(session.id)}
                isMoving={state.moving.has(session.id) || isLeaving(session.id)}
                typing={state.typing.get(session.id)}
                viewers={(state.viewers.get(session.id) ?? []).filter((sub) => sub !== me).join('\n')}
                me={me}
                onOpen={onOpen}
                onSelect={onSelect}
              />
            ))}
          </ul>
          <div className="list-end" ref={end}>
            {state.hasMore
              ? <button type="button" className="t-button" data-kind="quiet" data-size="small" onClick={() => void sessions.loadMore()}>{state.isLoadingMore ? words.loadingMore : words.more}</button>
              : <p className="t-muted t-small">{words.end}</p>}
          </div>
        </>
      )}
    </div>
  );
}

function Loading() {
  return (
    <div>
      <p className="t-visually-hidden">{words.loading}</p>
      {Array.from({ length: 7 }, (_, index) => (
        <div className="t-row" key={index} aria-hidden="true"><span className="t-row-main"><span className="t-skeleton" data-size="title" /><span className="t-skeleton" /></span></div>
      ))}
    </div>
  );
}

/**
 * While a pointer moves over the list its rows keep their places, patched as ever: else a press would hit the row that has just slid below it. Newer
 * chats come, and those that belong elsewhere by now go, when the pointer rests.
 */
function useSteady(box: RefObject<HTMLDivElement | null>, store: Sessions, { sessions, view }: SessionsState) {
  const [steady, setSteady] = useState<{ view: SessionsState['view']; ids: readonly string[] } | null>(null);
  usePointing(box, (isPointing) => setSteady(isPointing ? { view, ids: sessions.map(({ id }) => id) } : null));
  const known = new Map(sessions.map((session) => [session.id, session]));
  const kept = steady?.view === view ? steady.ids.flatMap((id) => known.get(id) ?? store.session(id) ?? []) : [];
  const last = kept.at(-1);
  if (!last) return { rows: sessions, isSteady: false, isLeaving: () => false };
  // What scrolling has loaded meanwhile stands behind them.
  const behind = sessions.filter((session) => comparePlaces(placeOf(session), placeOf(last)) > 0);
  return { rows: [...kept, ...behind], isSteady: true, isLeaving: (id: string) => kept.some((session) => session.id === id) && !known.has(id) };
}

/** How many came on top since it was scrolled away from there. */
function useFresh(box: RefObject<HTMLDivElement | null>, { sessions, view }: SessionsState, isSteady: boolean) {
  const [isAway, setAway] = useState(false);
  const top = useRef<SessionPlace | null>(null);
  const first = sessions[0];
  if (!isAway && !isSteady) top.current = first ? placeOf(first) : null;
  useEffect(() => {
    const element = box.current!;
    const scrolled = () => setAway(element.scrollTop > nearTop);
    element.addEventListener('scroll', scrolled, { passive: true });
    return () => element.removeEventListener('scroll', scrolled);
  }, []);
  useEffect(() => {
    box.current!.scrollTop = 0;
    setAway(false);
  }, [view]);
  const was = top.current;
  const fresh = isAway && was ? sessions.filter((session) => comparePlaces(placeOf(session), was) < 0).length : 0;
  return { isAway, fresh, backToTop: () => box.current!.scrollTo({ top: 0 }) };
}

/** Keeps the first visible row where it is while rows come and go above it. */
function useAnchor(box: RefObject<HTMLDivElement | null>, rows: readonly ChatSession[]): void {
  const anchor = useRef<{ id: string; top: number; scrolled: number } | null>(null);
  useEffect(() => {
    const element = box.current!;
    const note = () => {
      anchor.current = null;
      if (element.scrollTop <= nearTop) return;
      const edge = element.getBoundingClientRect().top;
      for (const row of element.querySelectorAll<HTMLElement>('[data-id]')) {
        const top = row.getBoundingClientRect().top - edge;
        if (top < 0) continue;
        anchor.current = { id: row.dataset['id']!, top, scrolled: element.scrollTop };
        break;
      }
    };
    element.addEventListener('scroll', note, { passive: true });
    return () => element.removeEventListener('scroll', note);
  }, []);
  useLayoutEffect(() => {
    const element = box.current!;
    const was = anchor.current;
    // Scrolled since, and not noted yet: that is meant.
    if (!was || element.scrollTop !== was.scrolled) return;
    const row = element.querySelector<HTMLElement>(`[data-id="${CSS.escape(was.id)}"]`);
    if (!row) return;
    element.scrollTop += row.getBoundingClientRect().top - element.getBoundingClientRect().top - was.top;
    was.scrolled = element.scrollTop;
  }, [rows]);
}

/** When the row that has the focus leaves the list, its follower gets it. */
function useFocusKept(box: RefObject<HTMLDivElement | null>, ids: readonly string[]): void {
  const had = useRef<{ id: string; index: number } | null>(null);
  useEffect(() => {
    const element = box.current!;
    const focused = (event: FocusEvent) => {
      const id = (event.target as HTMLElement).closest<HTMLElement>('[data-id]')?.dataset['id'];
      had.current = id === undefined ? null : { id, index: [...element.querySelectorAll('[data-id]')].findIndex((row) => (row as HTMLElement).dataset['id'] === id) };
    };
    const left = (event: FocusEvent) => {
      // Without a next place the row itself may be going.
      if (event.relatedTarget && !element.contains(event.relatedTarget as Node)) had.current = null;
    };
    element.addEventListener('focusin', focused);
    element.addEventListener('focusout', left);
    return () => {
      element.removeEventListener('focusin', focused);
      element.removeEventListener('focusout', left);
    };
  }, []);
  useLayoutEffect(() => {
    const last = had.current;
    if (!last || ids.includes(last.id)) return;
    had.current = null;
    if (document.activeElement && document.activeElement !== document.body) return;
    const rows = box.current!.querySelectorAll<HTMLElement>('.session-open');
    rows[Math.min(last.index, rows.length - 1)]?.focus({ preventScroll: true });
  });
}

/** Calls when the end of the list comes into sight. */
function useEnd(reached: () => void, length: number): RefObject<HTMLDivElement | null> {
  const end = useRef<HTMLDivElement>(null);
  const call = useRef(reached);
  call.current = reached;
  // Watched anew after each page: an end that is in sight again at once has not left it, for the observer.
  useEffect(() => {
    const element = end.current;
    if (!element || typeof IntersectionObserver === 'undefined') return;
    const watching = new IntersectionObserver((entries) => {
      if (entries.some(({ isIntersecting }) => isIntersecting)) call.current();
    }, { root: element.closest('.list'), rootMargin: '200px' });
    watching.observe(element);
    return () => watching.disconnect();
  }, [length]);
  return end;
}
