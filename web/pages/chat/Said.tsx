/** One message. What is being written grows word by word; what was not sent can be sent again. */
import { memo } from 'react';
import { Icon } from '../../client/react/icons';
import type { Message } from '../../client/store/conversation';
import { texts } from '../texts';
import { Avatar } from './Avatar';

const words = texts.chat.open;

export const Said = memo(function Said({ message, me, follows, onResend, onDiscard }: {
  message: Message;
  me: string;
  /** The one before is of the same author. */
  follows: boolean;
  onResend(id: string): void;
  onDiscard(id: string): void;
}) {
  const { role, author, content, created_at: time } = message;
  const isMine = role === 'assistant' && author === me;
  const who = isMine ? words.you : role === 'system' ? words.system : author ?? (role === 'assistant' ? words.assistant : texts.chat.noUser);
  // Somebody else's answer in the making; one's own is only on its way.
  const isWriting = message.status === 'sending' && !isMine;
  return (
    <article className="said" data-role={role} data-status={message.status} data-mine={isMine || undefined} data-follows={follows || undefined} data-message={message.id} aria-busy={isWriting || undefined}>
      {role !== 'system' && (follows ? <span className="said-space" /> : <Avatar sub={author ?? who} small />)}
      <div className="said-body">
        <p className="said-head" {...(follows ? { 'data-quiet': true } : {})}>
          <strong>{who}</strong> <time dateTime={time} title={new Date(time).toLocaleString()}>{new Date(time).toLocaleTimeString(undefined, { hour: '2-digit', minute: '2-digit' })}</time>
        </p>
        <p className="said-text">
          {content}
          {isWriting && (content === '' ? <span className="typing-dots" role="img" aria-label={words.writing}><i /><i /><i /></span> : <span className="caret" aria-hidden="true" />)}
          {message.status === 'failed' && !isMine && <em>{words.unanswered}</em>}
        </p>
        {message.status === 'sending' && isMine && <p className="said-state">{words.sending}</p>}
        {message.status === 'failed' && isMine && (
          <p className="said-state" data-tone="bad" role="alert">
            <Icon name="alert" /> {words.notSent}{' '}
            <button type="button" className="t-button" data-size="small" onClick={() => onResend(message.id)}>{words.resend}</button>{' '}
            <button type="button" className="t-button" data-kind="quiet" data-size="small" onClick={() => onDiscard(message.id)}>{words.discard}</button>
          </p>
        )}
      </div>
    </article>
  );
});
