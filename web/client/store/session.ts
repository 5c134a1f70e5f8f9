/** A chat session, as lists and events show it; how sessions are ordered, and which a view shows. */

export const sessionStatuses = ['waiting', 'active', 'ended', 'archived'] as const;
/** A session only goes forwards through these. */
export type SessionStatus = (typeof sessionStatuses)[number];

export interface ChatSession {
  readonly id: string;
  readonly user_id: string | null;
  readonly subject: string | null;
  readonly metadata: unknown;
  readonly status: SessionStatus;
  /** `sub` of whoever answers; null while nobody does. */
  readonly assigned_to: string | null;
  readonly created_at: string;
  readonly updated_at: string;
  /** When waiting ended. */
  readonly started_at: string | null;
  readonly ended_at: string | null;
  readonly last_message_at: string | null;
}

export interface ChatMetrics {
  readonly sessions: Readonly<Record<SessionStatus, number>>;
  readonly waiting_time: { readonly average_s: number | null; readonly longest_s: number | null };
  readonly messages_per_minute: number;
}

/** What of the sessions is looked at. */
export interface SessionsView {
  readonly status: SessionStatus | 'all';
  /** Part of the subject or the user. */
  readonly q: string;
  /** Assigned to this one; null: to nobody; undefined: to whomever. */
  readonly assignee: string | null | undefined;
}

/** A session's place in lists, which go from the newest to the oldest. */
export interface SessionPlace {
  readonly at: number;
  readonly id: string;
}

/**
 * Microseconds since 1970. Events carry times in the time zone of whoever wrote the row, so the texts cannot be compared; and
 * `Date` drops what is below a millisecond.
 */
export function instant(time: string): number {
  const fraction = /\.(\d+)/.exec(time)?.[1] ?? '';
  return Date.parse(time) * 1000 + Number(fraction.slice(3, 6).padEnd(3, '0') || 0);
}

export function placeOf(session: ChatSession): SessionPlace {
  return { at: instant(session.created_at), id: session.id };
}

/** Negative where `a` comes first: it is newer. */
export function comparePlaces(a: SessionPlace, b: SessionPlace): number {
  return b.at - a.at || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0);
}

export function sessionIsIn(session: ChatSession, status: SessionsView['status'], assignee: SessionsView['assignee']): boolean {
  return (status === 'all' || session.status === status) && (assignee === undefined || session.assigned_to === assignee);
}

/** As the server looks, but for the user's name, which sessions do not hold. */
export function sessionHas(session: ChatSession, q: string): boolean {
  const wanted = q.toLowerCase();
  return [session.subject, session.user_id].some((text) => text?.toLowerCase().includes(wanted));
}

/** What an admin does with a session. */
export type SessionMove = 'end' | 'archive' | 'assign';

/** Whether the server would take it, as far as is known here. */
export function canMove(session: ChatSession, move: SessionMove): boolean {
  switch (move) {
    case 'end':
      return session.status === 'waiting' || session.status === 'active';
    case 'archive':
      return session.status === 'ended';
    case 'assign':
      return session.status === 'waiting' || (session.status === 'active' && session.assigned_to === null);
  }
}

/** What a session will be, for showing it before the server has answered. */
export function moved(session: ChatSession, move: SessionMove, assignee: string | null): ChatSession {
  switch (move) {
    case 'end':
      return { ...session, status: 'ended' };
    case 'archive':
      return { ...session, status: 'archived' };
    case 'assign':
      return { ...session, status: 'active', assigned_to: assignee };
  }
}
