/** The chat that is open, with its head: what it is about, who else looks at it, what can be done with it. */
import { useState } from 'react';
import type { Connection } from '@tidings/client';
import { Icon, type IconName } from '../../client/react/icons';
import type { ChatSession, SessionMove } from '../../client/store/session';
import { texts } from '../texts';
import { Avatar } from './Avatar';
import { Conversation } from './Conversation';
import { Details } from './Details';
import { Status } from './Status';
import { obstacle } from './useMoves';

const words = texts.chat;
const icons: Record<SessionMove, IconName> = { assign: 'person', end: 'done', archive: 'archive' };

export function OpenChat({ connection, tenant, session, me, viewers, colleagues, isMoving, isConnected, onMove, onClose }: {
  connection: Connection;
  tenant: string;
  session: ChatSession;
  me: string;
  viewers: readonly string[];
  colleagues: readonly string[];
  isMoving: boolean;
  isConnected: boolean;
  onMove(move: SessionMove, assignee?: string): void;
  onClose(): void;
}) {
  const [showsDetails, setShowsDetails] = useState(false);
  // What leads on from here; what cannot be done stays away, but for lack of a connection.
  const offered = (['assign', 'end', 'archive'] as const).filter((move) => obstacle(session, move, true) === null);
  return (
    <section className="open" aria-labelledby="open-subject" data-details={showsDetails || undefined}>
      <header className="open-head">
        <button type="button" className="t-icon-button open-back" aria-label={words.open.back} onClick={onClose}><Icon name="back" /></button>
        <div className="open-title">
          <h2 id="open-subject" tabIndex={-1}>{session.subject ?? words.noSubject}</h2>
          <p className="open-line">
            <Status status={session.status} />
            <span>{session.user_id ?? words.noUser}</span>
            {session.assigned_to !== null && <span className="t-muted">{words.assigned(session.assigned_to === me ? words.open.you : session.assigned_to)}</span>}
          </p>
        </div>
        <div className="open-moves">
          {offered.map((move) => (
            <button
              key={move}
              type="button"
              className="t-button"
              data-kind={move === 'assign' ? 'primary' : undefined}
              disabled={isMoving || !isConnected}
              title={isConnected ? undefined : words.cannot.offline}
              onClick={() => onMove(move)}
            >
              <Icon name={icons[move]} />{words.moves[move]}
            </button>
          ))}
          <button type="button" className="t-icon-button open-details" aria-expanded={showsDetails} aria-label={showsDetails ? words.open.hideDetails : words.open.details} onClick={() => setShowsDetails(!showsDetails)}><Icon name="info" /></button>
        </div>
      </header>
      {/* There before its content is, so that it is announced when somebody comes. */}
      <p className="open-looking" role="status">
        {viewers.length > 0 && <><span className="t-avatars">{viewers.slice(0, 4).map((sub) => <Avatar key={sub} sub={sub} small />)}</span> {words.looks(viewers)}</>}
      </p>
      <div className="open-body"><Conversation key={session.id} connection={connection} tenant={tenant} session={session} me={me} /></div>
      <Details session={session} viewers={viewers} colleagues={colleagues} isConnected={isConnected} onAssign={(assignee) => onMove('assign', assignee)} />
    </section>
  );
}
