/** One chat in the list. It renders again only when something of it changes. */
import { memo, type MouseEvent } from 'react';
import { Icon } from '../../client/react/icons';
import type { ChatSession } from '../../client/store/session';
import { texts } from '../texts';
import { Avatar } from './Avatar';
import { Ago, Since } from './Times';

export interface SessionRowProps {
  session: ChatSession;
  isOpen: boolean;
  isSelected: boolean;
  isUnread: boolean;
  isMoving: boolean;
  typing: string | undefined;
  /** Others who look at it, joined, so that equal ones compare as equal. */
  viewers: string;
  me: string;
  onOpen(id: string): void;
  onSelect(id: string, isRange: boolean): void;
}

export const SessionRow = memo(function SessionRow({ session, isOpen, isSelected, isUnread, isMoving, typing, viewers, me, onOpen, onSelect }: SessionRowProps) {
  const words = texts.chat;
  const subject = session.subject ?? words.noSubject;
  const looking = viewers === '' ? [] : viewers.split('\n');
  return (
    <li className="session" data-id={session.id} data-selected={isSelected || undefined} data-moving={isMoving || undefined}>
      <label className="session-check">
        <input
          type="checkbox"
          checked={isSelected}
          aria-label={words.select(subject)}
          // On click, which says whether Shift was held; a change does not.
          onClick={(event: MouseEvent) => onSelect(session.id, event.shiftKey)}
          onChange={() => {}}
        />
      </label>
      <button type="button" className="t-row session-open" data-unread={isUnread || undefined} aria-current={isOpen ? 'true' : undefined} onClick={() => onOpen(session.id)}>
        <span className="t-row-main">
          <span className="session-line">
            {isUnread && <span className="t-dot session-dot" data-tone="info"><span className="t-visually-hidden">{words.unread}</span></span>}
            <span className="t-row-title t-truncate">{subject}</span>
          </span>
          <span className="t-row-text t-truncate">
            {typing === undefined ? session.user_id ?? words.noUser : <em className="session-typing">{words.typing(typing)}</em>}
          </span>
        </span>
        <span className="session-side">
          <span className="session-when">
            {session.status === 'waiting' && <><Icon name="clock" /><span className="t-visually-hidden">{words.waited}</span></>}
            {session.status === 'waiting' ? <Since time={session.created_at} /> : <Ago time={session.last_message_at ?? session.created_at} />}
          </span>
          <span className="session-people">
            {looking.length > 0 && (
              <span className="t-avatars" role="img" aria-label={words.looking(looking)} title={words.looking(looking)}>
                {looking.slice(0, 3).map((sub) => <Avatar key={sub} sub={sub} small />)}
              </span>
            )}
            {session.assigned_to !== null && (
              <span className="t-chip session-assigned" {...(session.assigned_to === me ? { 'data-tone': 'own' } : {})} title={words.assigned(session.assigned_to)}>
                <Icon name="person" />{session.assigned_to === me ? words.mine : session.assigned_to}
              </span>
            )}
          </span>
        </span>
      </button>
    </li>
  );
});
