/** The chat that is open: its messages from the first to the one being written, and the field for an answer. */
import { Fragment, useEffect, useLayoutEffect, useRef, useState, type RefObject } from 'react';
import type { Connection } from '@tidings/client';
import { Icon } from '../../client/react/icons';
import { useChat, type Chat } from '../../client/react/useChat';
import type { ChatSession } from '../../client/store/session';
import { texts } from '../texts';
import { Composer } from './Composer';
import { Said } from './Said';

const words = texts.chat.open;
/** As good as at the end. */
const nearEnd = 64;

export function Conversation({ connection, tenant, session, me }: { connection: Connection; tenant: string; session: ChatSession; me: string }) {
  const chat = useChat(session.id, { connection, tenant, me, role: 'assistant' });
  return (
    <>
      <Messages chat={chat} me={me} />
      <Composer chat={chat} session={session} />
    </>
  );
}

function Messages({ chat, me }: { chat: Chat; me: string }) {
  const box = useRef<HTMLDivElement>(null);
  const { messages, isLoading, error } = chat;
  const { isAtEnd, toEnd } = useScroll(box, chat);
  const typing = chat.typing.length ? texts.chat.typing(chat.typing.join(', ')) : null;
  return (
    <div className="messages-around">
      <div className="messages" ref={box} role="log" aria-label={words.conversation} aria-busy={isLoading} tabIndex={0}>
        {isLoading && (
          <div aria-hidden="true" className="messages-loading"><span className="t-skeleton" data-size="block" /><span className="t-skeleton" data-size="block" /><span className="t-skeleton" data-size="block" /></div>
        )}
        {!isLoading && error && messages.length === 0 && (
          <div className="t-empty" role="alert">
            <Icon name="alert" /><strong>{words.failed}</strong><p>{error.detail}</p>
            <button type="button" className="t-button" onClick={() => void chat.retry()}>{texts.chat.tryAgain}</button>
          </div>
        )}
        {!isLoading && !error && messages.length === 0 && <p className="t-empty">{words.empty}</p>}
        {chat.hasEarlier && (
          <p className="messages-earlier"><button type="button" className="t-button" data-size="small" disabled={chat.isLoadingEarlier} onClick={() => void chat.loadEarlier()}>{words.earlier}</button></p>
        )}
        {messages.map((message, index) => {
          const before = messages[index - 1];
          const day = dayOf(message.created_at);
          return (
            <Fragment key={message.id}>
              {(!before || dayOf(before.created_at) !== day) && <h3 className="day"><span>{day}</span></h3>}
              <Said message={message} me={me} follows={before !== undefined && before.role === message.role && before.author === message.author && dayOf(before.created_at) === day} onResend={chat.retry} onDiscard={chat.discard} />
            </Fragment>
          );
        })}
        <p className="typing" data-shown={typing !== null || undefined}>{typing !== null && <><span className="typing-dots" aria-hidden="true"><i /><i /><i /></span>{typing}</>}</p>
      </div>
      {!isAtEnd && messages.length > 0 && <button type="button" className="t-pill messages-down" onClick={toEnd}>{words.down}</button>}
    </div>
  );
}

function dayOf(time: string): string {
  const day = new Date(time);
  const today = new Date();
  if (day.toDateString() === today.toDateString()) return words.today;
  today.setDate(today.getDate() - 1);
  if (day.toDateString() === today.toDateString()) return words.yesterday;
  return day.toLocaleDateString(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
}

/** Stays at the end while it is there; and where it was when earlier messages come on top. */
function useScroll(box: RefObject<HTMLDivElement | null>, { messages, typing }: Chat) {
  const [isAtEnd, setAtEnd] = useState(true);
  const follows = useRef(true);
  const before = useRef<{ first: string | undefined; height: number }>({ first: undefined, height: 0 });
  useEffect(() => {
    const element = box.current!;
    const scrolled = () => {
      follows.current = element.scrollHeight - element.scrollTop - element.clientHeight < nearEnd;
      setAtEnd(follows.current);
    };
    element.addEventListener('scroll', scrolled, { passive: true });
    // The window, the keyboard of a phone, a field that grows.
    const sized = new ResizeObserver(() => {
      if (follows.current) element.scrollTop = element.scrollHeight;
    });
    sized.observe(element);
    return () => {
      element.removeEventListener('scroll', scrolled);
      sized.disconnect();
    };
  }, []);
  useLayoutEffect(() => {
    const element = box.current!;
    const first = messages[0]?.id;
    const { first: firstBefore, height } = before.current;
    if (follows.current) element.scrollTop = element.scrollHeight;
    else if (firstBefore !== undefined && first !== firstBefore) element.scrollTop += element.scrollHeight - height;
    before.current = { first, height: element.scrollHeight };
  }, [messages, typing]);
  const toEnd = () => {
    const element = box.current!;
    follows.current = true;
    element.scrollTop = element.scrollHeight;
  };
  return { isAtEnd, toEnd };
}
