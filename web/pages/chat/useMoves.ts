/** Ending, archiving and assigning: what is said about how it went. */
import { useCallback, useMemo, useState } from 'react';
import type { Problem } from '@tidings/client';
import { canMove, type ChatSession, type SessionMove } from '../../client/store/session';
import type { MovedSessions, Sessions } from '../../client/store/sessions';
import { toast } from '../shell';
import { texts } from '../texts';
import { ago } from './clock';

const words = texts.chat;

export interface Bulk {
  move: SessionMove;
  done: number;
  all: number;
  /** Null while it runs. */
  result: MovedSessions | null;
}

export interface Moves {
  move(session: ChatSession, move: SessionMove, assignee?: string): void;
  moveAll(sessions: readonly ChatSession[], move: SessionMove): Promise<void>;
  bulk: Bulk | null;
  dismiss(): void;
}

/** Why the session cannot be moved so; null where it can. */
export function obstacle(session: ChatSession, move: SessionMove, isConnected: boolean): string | null {
  if (!isConnected) return words.cannot.offline;
  if (canMove(session, move)) return null;
  return move === 'assign' ? words.cannot.assign(session.status === 'active' ? session.assigned_to : null) : words.cannot[move];
}

/** What a refusal means to a person: who was faster, and what the session is now. */
export function refusalText(problem: Problem): string {
  const current = problem.current as ChatSession | null;
  if (problem.code === 'conflict' && current) {
    const { conflict } = words;
    switch (current.status) {
      case 'ended':
        return conflict.ended(current.ended_at ? ago(current.ended_at, Date.now()) : words.ago.now, current.assigned_to);
      case 'active':
        return conflict.active(current.assigned_to);
      case 'archived':
        return conflict.archived;
      case 'waiting':
        return conflict.waiting;
    }
  }
  return words.moveFailed(problem.status === 0 && problem.code === 'unreachable' ? words.unreachable : problem.detail);
}

export function useMoves(sessions: Sessions, me: string): Moves {
  const [bulk, setBulk] = useState<Bulk | null>(null);
  const move = useCallback((session: ChatSession, what: SessionMove, assignee?: string) => {
    const subject = session.subject ?? words.noSubject;
    sessions.move(session.id, what, assignee).then(
      () => toast({ tone: 'good', text: `${what === 'assign' ? words.done.assign(assignee ?? me) : words.done[what]}: ${subject}` }),
      (problem: Problem) => toast({ tone: problem.code === 'conflict' ? 'warn' : 'bad', text: `${subject}: ${refusalText(problem)}` }),
    );
  }, [sessions, me]);
  const moveAll = useCallback(async (chosen: readonly ChatSession[], what: SessionMove) => {
    setBulk({ move: what, done: 0, all: chosen.length, result: null });
    const result = await sessions.moveAll(chosen.map(({ id }) => id), what, undefined, (done) => setBulk({ move: what, done, all: chosen.length, result: null }));
    if (result.refused.length) {
      setBulk({ move: what, done: chosen.length, all: chosen.length, result });
      return;
    }
    setBulk(null);
    toast({ tone: 'good', text: words.bulkDone[what](result.done.length) });
  }, [sessions]);
  const dismiss = useCallback(() => setBulk(null), []);
  return useMemo(() => ({ move, moveAll, bulk, dismiss }), [move, moveAll, bulk, dismiss]);
}
