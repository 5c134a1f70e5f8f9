/** What is known of the open chat besides its messages. */
import { useId, useState, type ReactNode } from 'react';
import { Icon } from '../../client/react/icons';
import { canMove, type ChatSession } from '../../client/store/session';
import { toast } from '../shell';
import { texts } from '../texts';
import { Avatar } from './Avatar';
import { span } from './clock';
import { Status } from './Status';
import { Ago, Since } from './Times';

const words = texts.chat.details;

export function Details({ session, viewers, colleagues, isConnected, onAssign }: {
  session: ChatSession;
  /** Others who look at it. */
  viewers: readonly string[];
  /** Whom it may be given to, as far as they are known here. */
  colleagues: readonly string[];
  isConnected: boolean;
  onAssign(assignee: string): void;
}) {
  const metadata = session.metadata && typeof session.metadata === 'object' && Object.keys(session.metadata).length ? JSON.stringify(session.metadata, null, 2) : null;
  const copy = () => {
    void navigator.clipboard?.writeText(session.id).then(() => toast({ text: words.copied, tone: 'good' }), () => {});
  };
  return (
    <aside className="details" aria-label={words.title}>
      <dl>
        <Fact name={words.status}><Status status={session.status} /></Fact>
        <Fact name={words.user}>{session.user_id ?? texts.chat.noUser}</Fact>
        <Fact name={words.assigned}>{session.assigned_to ?? <span className="t-muted">{words.nobody}</span>}</Fact>
        <Fact name={words.began}><Ago time={session.created_at} /></Fact>
        <Fact name={words.waited}>
          {session.started_at ? span((Date.parse(session.started_at) - Date.parse(session.created_at)) / 1000) : session.status === 'waiting' ? <Since time={session.created_at} /> : texts.chat.metrics.none}
        </Fact>
        {session.ended_at && <Fact name={words.ended}><Ago time={session.ended_at} /></Fact>}
        {session.last_message_at && <Fact name={words.last}><Ago time={session.last_message_at} /></Fact>}
        <Fact name={words.looking}>
          {viewers.length ? <span className="details-people">{viewers.map((sub) => <span key={sub}><Avatar sub={sub} small /> {sub}</span>)}</span> : <span className="t-muted">{words.onlyYou}</span>}
        </Fact>
        <Fact name={words.id}>
          <span className="details-id"><code>{session.id}</code><button type="button" className="t-icon-button" data-size="small" aria-label={words.copy} onClick={copy}><Icon name="copy" /></button></span>
        </Fact>
      </dl>
      {canMove(session, 'assign') && <Assign colleagues={colleagues} isConnected={isConnected} onAssign={onAssign} />}
      {metadata && <section><h3>{words.metadata}</h3><pre className="t-code">{metadata}</pre></section>}
    </aside>
  );
}

function Fact({ name, children }: { name: string; children: ReactNode }) {
  return <div><dt>{name}</dt><dd>{children}</dd></div>;
}

function Assign({ colleagues, isConnected, onAssign }: { colleagues: readonly string[]; isConnected: boolean; onAssign(assignee: string): void }) {
  const [name, setName] = useState('');
  const list = useId();
  return (
    <form
      className="details-assign"
      onSubmit={(event) => {
        event.preventDefault();
        if (name.trim() === '') return;
        onAssign(name.trim());
        setName('');
      }}
    >
      <label className="t-field">
        <span>{words.assignTo}</span>
        <input className="t-input" list={list} value={name} maxLength={255} autoComplete="off" onInput={({ currentTarget }) => setName(currentTarget.value)} />
      </label>
      <datalist id={list}>{colleagues.map((sub) => <option key={sub} value={sub} />)}</datalist>
      <button type="submit" className="t-button" disabled={!isConnected || name.trim() === ''} title={isConnected ? undefined : texts.chat.cannot.offline}>{words.assign}</button>
    </form>
  );
}
