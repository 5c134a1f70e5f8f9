/** Where an answer is written. What is not sent yet stays with its chat, over a reload too. */
import { useEffect, useId, useLayoutEffect, useRef, useState, type KeyboardEvent } from 'react';
import type { Chat } from '../../client/react/useChat';
import { Icon } from '../../client/react/icons';
import type { ChatSession } from '../../client/store/session';
import { texts } from '../texts';

const words = texts.chat.composer;
const bytesMax = 32_768;

function kept(id: string): string {
  try {
    return sessionStorage.getItem(`tidings-chat-draft ${id}`) ?? '';
  } catch {
    return '';
  }
}

function keep(id: string, text: string): void {
  try {
    if (text === '') sessionStorage.removeItem(`tidings-chat-draft ${id}`);
    else sessionStorage.setItem(`tidings-chat-draft ${id}`, text);
  } catch {
    // It lasts as long as the field.
  }
}

export function Composer({ chat, session }: { chat: Chat; session: ChatSession }) {
  const [text, setText] = useState(() => kept(session.id));
  const field = useRef<HTMLTextAreaElement>(null);
  const note = useId();
  const write = (next: string) => {
    setText(next);
    keep(session.id, next);
  };
  // A refused message is not lost: back into the field, unless something else stands there by now.
  const taken = useRef('');
  useEffect(() => {
    if (!chat.error) return;
    const back = taken.current;
    taken.current = '';
    if (back !== '' && chat.messages.every(({ content }) => content !== back)) setText((now) => (now === '' ? back : now));
  }, [chat.error]);
  useLayoutEffect(() => {
    const element = field.current;
    if (!element) return;
    element.style.height = 'auto';
    element.style.height = `${Math.min(element.scrollHeight + 2, 180)}px`;
  }, [text]);

  if (session.status === 'ended' || session.status === 'archived') return <p className="composer-closed">{words.closed[session.status]}</p>;

  const tooLong = new TextEncoder().encode(text).length > bytesMax;
  const canSend = text.trim() !== '' && chat.isConnected && !tooLong;
  const send = () => {
    if (!canSend) return;
    taken.current = text.trim();
    void chat.sendMessage(text.trim());
    write('');
    field.current?.focus();
  };
  const pressed = (event: KeyboardEvent<HTMLTextAreaElement>) => {
    // What an input method ends with Enter is not finished yet.
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    send();
  };
  return (
    <form
      className="composer"
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <textarea
        ref={field}
        id="answer"
        className="t-input"
        rows={1}
        aria-label={words.label}
        aria-describedby={note}
        aria-invalid={tooLong || undefined}
        placeholder={words.placeholder}
        value={text}
        onInput={({ currentTarget }) => {
          write(currentTarget.value);
          if (currentTarget.value !== '') chat.tellTyping();
        }}
        onKeyDown={pressed}
      />
      <button type="submit" className="t-button" data-kind="primary" disabled={!canSend}><Icon name="send" />{words.send}</button>
      <p id={note} className="t-small t-muted">{tooLong ? words.tooLong : !chat.isConnected ? words.offline : session.status === 'waiting' ? words.takesUp : words.hint}</p>
    </form>
  );
}
