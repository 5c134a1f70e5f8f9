/** `/admin/chat`: all chats of a tenant, the one that is open, and what an admin does with them. */
import { useCallback, useEffect, useMemo, useState } from 'react';
import { Icon } from '../../client/react/icons';
import { useChatSessions } from '../../client/react/useChatSessions';
import { useStore } from '../../client/react/useStore';
import type { ChatSession, SessionMove } from '../../client/store/session';
import type { Sessions } from '../../client/store/sessions';
import { useHere } from '../shell';
import { texts } from '../texts';
import { BulkBar, BulkResult } from './Bulk';
import { openChime } from './chime';
import { Confirm } from './Dialog';
import { Filters } from './Filters';
import { useKeys, type KeyCommand } from './keyboard';
import { Keys } from './Keys';
import { Metrics } from './Metrics';
import { OpenChat } from './OpenChat';
import { isUnread, openedSessions } from './opened';
import { Refused } from './Refused';
import { SessionList } from './SessionList';
import { useLooking } from './useLooking';
import { obstacle, useMoves } from './useMoves';
import { useOpen } from './useOpen';
import { useSelection } from './useSelection';
import { useTurn } from './useTurn';

const words = texts.chat;
const chime = openChime();

export function ChatPage() {
  const { session } = useHere();
  return session.role === 'admin' ? <Desk /> : <Refused sub={session.sub} role={session.role} />;
}

function Desk() {
  const { connection, tenant, session: { sub: me } } = useHere();
  const { store, isConnected, ...state } = useChatSessions({ connection, tenant, sub: me });
  const [openId, setOpen] = useOpen();
  const { session: open, isGone } = useSession(store, openId);
  const opened = useMemo(() => openedSessions(tenant, me), [tenant, me]);
  const seen = useStore(opened);
  const moves = useMoves(store, me);
  const selection = useSelection(state.sessions);
  const hasSound = useStore(chime);
  const sounds = useTurn('tidings-chat-sound', hasSound);
  const [confirming, setConfirming] = useState<readonly ChatSession[] | null>(null);
  const [showsKeys, setShowsKeys] = useState(false);

  useLooking(connection, tenant, open?.id ?? null);
  useEffect(() => {
    const waiting = state.metrics?.sessions.waiting ?? 0;
    document.title = `${words.titleWith(waiting)} · ${texts.shell.product}`;
  }, [state.metrics?.sessions.waiting]);
  useEffect(() => {
    if (!sounds) return;
    return store.onNews(({ kind, session }) => {
      // What is being looked at needs no sound.
      if (kind === 'message' && session === openId && document.hasFocus()) return;
      chime.sound();
    });
  }, [store, sounds, openId]);
  useOpened(opened, open);

  const unread = useMemo(() => new Set(state.sessions.filter((session) => session.id !== openId && isUnread(session, seen)).map(({ id }) => id)), [state.sessions, seen, openId]);
  const others = (id: string) => (state.viewers.get(id) ?? []).filter((sub) => sub !== me);
  const colleagues = useMemo(() => {
    const subs = new Set([me, ...[...state.viewers.values()].flat()]);
    for (const { assigned_to: sub } of state.sessions) if (sub !== null) subs.add(sub);
    return [...subs].sort();
  }, [me, state.viewers, state.sessions]);

  const show = useCallback((id: string) => setOpen(id), [setOpen]);
  const act = (session: ChatSession | undefined, move: SessionMove) => {
    if (!session || obstacle(session, move, isConnected) !== null) return;
    if (move === 'end') setConfirming([session]);
    else moves.move(session, move);
  };
  useKeys((command: KeyCommand) => {
    const focused = document.activeElement?.closest<HTMLElement>('[data-id]')?.dataset['id'];
    const meant = store.session(focused ?? openId ?? '');
    switch (command) {
      case 'next': return step(1, openId);
      case 'previous': return step(-1, openId);
      case 'open': return;
      case 'end':
      case 'assign':
      case 'archive': return act(meant, command);
      case 'select': return focused === undefined ? undefined : selection.toggle(focused, false);
      case 'reply': return document.getElementById('answer')?.focus();
      case 'search': return document.getElementById('chat-search')?.focus();
      case 'help': return setShowsKeys(true);
      case 'back': {
        if (selection.chosen.length) return selection.clear();
        if (openId === null) return;
        setOpen(null);
        return focusRow(openId);
      }
    }
  });

  return (
    <div className="desk" data-open={openId === null ? undefined : true}>
      <div className="desk-head">
        <h1>{words.title}</h1>
        <Metrics metrics={state.metrics} />
        <div className="desk-tools">
          <button type="button" className="t-icon-button" aria-pressed={hasSound} aria-label={words.sound.on} title={hasSound ? words.sound.on : words.sound.off} onClick={() => chime.toggle()}><Icon name={hasSound ? 'sound' : 'mute'} /></button>
          <button type="button" className="t-icon-button" aria-label={words.keys.open} title={words.keys.open} onClick={() => setShowsKeys(true)}><Icon name="keyboard" /></button>
        </div>
      </div>
      <section className="side" aria-label={words.title}>
        <Filters sessions={store} state={state} me={me} />
        <BulkBar
          chosen={selection.chosen}
          shown={state.sessions.length}
          isConnected={isConnected}
          moves={moves}
          onMove={(move, chosen) => (move === 'end' ? setConfirming(chosen) : void moves.moveAll(chosen, move))}
          onAll={selection.all}
          onClear={selection.clear}
        />
        <BulkResult sessions={store} moves={moves} />
        <SessionList sessions={store} state={state} open={openId} selected={selection.ids} unread={unread} me={me} onOpen={show} onSelect={selection.toggle} />
      </section>
      {open ? (
        <OpenChat
          connection={connection}
          tenant={tenant}
          session={open}
          me={me}
          viewers={others(open.id)}
          colleagues={colleagues}
          isMoving={state.moving.has(open.id)}
          isConnected={isConnected}
          onMove={(move, assignee) => moves.move(open, move, assignee)}
          onClose={() => {
            setOpen(null);
            focusRow(open.id);
          }}
        />
      ) : (
        <div className="open-none">
          {openId !== null && !isGone ? <p className="t-visually-hidden">{words.open.loading}</p> : (
            <div className="t-empty">
              <Icon name={isGone ? 'alert' : 'chat'} />
              <strong>{isGone ? words.open.gone : words.open.none}</strong>
              <p>{isGone ? words.open.goneWhy : words.open.noneWhy}</p>
              {isGone && <button type="button" className="t-button" onClick={() => setOpen(null)}>{words.open.back}</button>}
            </div>
          )}
        </div>
      )}
      {confirming && (
        <Confirm
          title={words.confirmEnd.title(confirming.length)}
          why={words.confirmEnd.why(confirming.length)}
          yes={words.confirmEnd.yes}
          onClose={() => setConfirming(null)}
          onYes={() => (confirming.length === 1 ? moves.move(confirming[0]!, 'end') : void moves.moveAll(confirming, 'end'))}
        />
      )}
      {showsKeys && <Keys onClose={() => setShowsKeys(false)} />}
    </div>
  );
}

/** The open chat as it is known; fetched where no list has brought it. */
function useSession(store: Sessions, id: string | null): { session: ChatSession | undefined; isGone: boolean } {
  const session = useStore(store, useCallback(() => (id === null ? undefined : store.session(id)), [store, id]));
  const [gone, setGone] = useState<string | null>(null);
  useEffect(() => {
    if (id === null || session) return;
    let left = false;
    store.fetch(id).then(() => setGone(null), (problem: { status?: number }) => {
      if (!left && problem.status === 404) setGone(id);
    });
    return () => {
      left = true;
    };
  }, [store, id, session === undefined]);
  return { session, isGone: id !== null && gone === id };
}

/** What is open and seen has been read. */
function useOpened(opened: ReturnType<typeof openedSessions>, session: ChatSession | undefined): void {
  useEffect(() => {
    if (!session) return;
    const look = () => {
      if (document.visibilityState === 'visible') opened.open(session);
    };
    look();
    document.addEventListener('visibilitychange', look);
    return () => document.removeEventListener('visibilitychange', look);
  }, [opened, session]);
}

function focusRow(id: string): void {
  document.querySelector<HTMLElement>(`[data-id="${CSS.escape(id)}"] .session-open`)?.focus();
}

/** From the row that has the focus, or the open chat's, or the edge of the list. */
function step(by: 1 | -1, openId: string | null): void {
  const rows = [...document.querySelectorAll<HTMLElement>('.session')];
  const focused = rows.findIndex((row) => row.contains(document.activeElement));
  const from = focused >= 0 ? focused : rows.findIndex((row) => row.dataset['id'] === openId);
  const next = rows[from < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, from + by))];
  next?.querySelector<HTMLElement>('.session-open')?.focus();
  next?.scrollIntoView({ block: 'nearest' });
}
