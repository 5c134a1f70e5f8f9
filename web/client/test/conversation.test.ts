import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Problem } from '../src/problem';
import { conversation, type Message } from '../store/conversation';
import { scripted, type Scripted } from './scripted';

const at = (second: number) => `2026-11-21T14:22:${String(second).padStart(2, '0')}.5+00:00`;
const message = (id: string, second: number, more: Partial<Message> = {}): Message => ({
  id,
  session_id: 's1',
  role: 'user',
  status: 'sent',
  content: `says ${id}`,
  metadata: {},
  author: 'ann',
  created_at: at(second),
  updated_at: at(second),
  ...more,
});

let server: Scripted;
const messages = '/v1/tenants/acme/chat/sessions/s1/messages';

function begin(history: Message[] = [message('m1', 1), message('m2', 2)], options = {}) {
  server.answer('GET', messages, () => ({ messages: history, cursor: 'c1', previous: null, next: null }));
  server.answer('GET', '/v1/tenants/acme/chat/sessions/s1', { id: 's1', status: 'waiting' });
  const chat = conversation(server, 's1', options);
  const end = chat.subscribe(() => undefined);
  return { chat, end };
}

const opened = async (...args: Parameters<typeof begin>) => {
  const made = begin(...args);
  await vi.waitFor(() => expect(made.chat.get().isLoading).toBe(false));
  return made;
};

const told = (type: string, data: unknown) => server.emit(type, data, { subject: 's1' });
const live = (type: string, data: object) => server.emit(type, data, { subject: 's1', id: undefined } as never);
const texts = (chat: { get(): { messages: readonly Message[] } }) => chat.get().messages.map(({ content }) => content);

beforeEach(() => {
  server = scripted();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('the history', () => {
  it('is read before anything is subscribed to, and the events begin at its cursor', async () => {
    const { chat } = begin();
    expect(server.subscriptions).toHaveLength(0);
    expect(chat.get().isLoading).toBe(true);
    await vi.waitFor(() => expect(texts(chat)).toEqual(['says m1', 'says m2']));
    expect(server.subscriptions[0]!.filter).toMatchObject({ subject: 's1', tenant: 'acme', after: 'c1' });
    expect(chat.get()).toMatchObject({ isLoading: false, error: null, isOpen: true });
  });

  it('asks for nothing before somebody listens', async () => {
    conversation(server, 's1');
    await Promise.resolve();
    expect(server.requests).toEqual([]);
  });

  it('goes on from where it was when somebody listens again, without reading it again', async () => {
    const { chat, end } = await opened();
    const seen = told('chat_messages.inserted', message('m3', 3));
    end();
    await vi.waitFor(() => expect(server.subscriptions).toHaveLength(0));
    const asked = server.requests.length;
    chat.subscribe(() => undefined);
    expect(server.subscriptions[0]!.filter.after).toBe(seen.id);
    expect(server.requests).toHaveLength(asked);
  });

  it('says what went wrong, is no longer loading, and is there after retry', async () => {
    server.answer('GET', messages, () => Promise.reject(new Problem('forbidden', 'not yours', 403)));
    const chat = conversation(server, 's1');
    chat.subscribe(() => undefined);
    await vi.waitFor(() => expect(chat.get()).toMatchObject({ isLoading: false, error: { code: 'forbidden' } }));
    expect(server.subscriptions).toHaveLength(0);
    server.answer('GET', messages, { messages: [message('m1', 1)], cursor: 'c1', previous: null });
    await chat.retry();
    expect(chat.get()).toMatchObject({ error: null, isLoading: false });
    expect(texts(chat)).toEqual(['says m1']);
  });

  it('is asked for again by itself when there was no answer', async () => {
    vi.useFakeTimers();
    let asked = 0;
    const { chat } = begin();
    server.answer('GET', messages, () => {
      asked += 1;
      if (asked === 1) throw new Problem('unreachable', 'no answer');
      return { messages: [message('m1', 1)], cursor: 'c1', previous: null };
    });
    await vi.runAllTimersAsync();
    expect(asked).toBe(2);
    expect(texts(chat)).toEqual(['says m1']);
  });

  it('is asked for at once when the connection is back', async () => {
    let asked = 0;
    const { chat } = begin();
    server.answer('GET', messages, () => {
      asked += 1;
      if (asked === 1) throw new Problem('unreachable', 'no answer', 0, null, null, 3_600_000);
      return { messages: [message('m1', 1)], cursor: 'c1', previous: null };
    });
    await vi.waitFor(() => expect(chat.get().error?.code).toBe('unreachable'));
    server.setStatus({ state: 'connected' });
    await vi.waitFor(() => expect(texts(chat)).toEqual(['says m1']));
  });

  it('grows backwards, each message once', async () => {
    server.answer('GET', messages, (asked: { query: URLSearchParams }) =>
      asked.query.get('before') === 'end'
        ? { messages: [message('m3', 3)], cursor: 'c1', previous: 'p1' }
        : { messages: [message('m1', 1), message('m2', 2), message('m3', 3)], cursor: 'c0', previous: null },
    );
    const chat = conversation(server, 's1');
    chat.subscribe(() => undefined);
    await vi.waitFor(() => expect(chat.get().hasEarlier).toBe(true));
    await Promise.all([chat.loadEarlier(), chat.loadEarlier()]);
    expect(texts(chat)).toEqual(['says m1', 'says m2', 'says m3']);
    expect(chat.get()).toMatchObject({ hasEarlier: false, isLoadingEarlier: false });
    expect(server.requests.filter(({ query }) => query.get('before') === 'p1')).toHaveLength(1);
  });

  it('has no hole where a reset comes while it grows backwards', async () => {
    let finish!: (page: unknown) => void;
    let newest: unknown = { messages: [message('m5', 5)], cursor: 'c5', previous: 'p5' };
    server.answer('GET', messages, (asked: { query: URLSearchParams }) => (asked.query.get('before') === 'end' ? newest : new Promise((resolve) => (finish = resolve))));
    const chat = conversation(server, 's1');
    chat.subscribe(() => undefined);
    await vi.waitFor(() => expect(chat.get().hasEarlier).toBe(true));
    const earlier = chat.loadEarlier();
    await vi.waitFor(() => expect(finish).toBeTypeOf('function'));
    newest = { messages: [message('m9', 9)], cursor: 'c9', previous: 'p9' };
    server.reset();
    await vi.waitFor(() => expect(texts(chat)).toEqual(['says m9']));
    finish({ messages: [message('m1', 1)], cursor: 'c0', previous: null });
    await earlier;
    expect(texts(chat)).toEqual(['says m9']);
    expect(chat.get()).toMatchObject({ hasEarlier: true, isLoadingEarlier: false });
  });

  it('is read and subscribed to anew after a reset', async () => {
    const { chat } = await opened();
    server.answer('GET', messages, { messages: [message('m2', 2), message('m9', 9)], cursor: 'c9', previous: null });
    server.reset();
    await vi.waitFor(() => expect(texts(chat)).toEqual(['says m2', 'says m9']));
    expect(server.subscriptions.map(({ filter }) => filter.after)).toEqual(['c9']);
  });
});

describe('events', () => {
  it('put each message where its time puts it, once, as it is now', async () => {
    const { chat } = await opened();
    told('chat_messages.inserted', message('m5', 5));
    told('chat_messages.inserted', message('m4', 4));
    told('chat_messages.inserted', message('m5', 5));
    told('chat_messages.updated', message('m1', 1, { content: 'edited', updated_at: at(8) }));
    told('chat_messages.deleted', message('m2', 2));
    expect(texts(chat)).toEqual(['edited', 'says m4', 'says m5']);
  });

  it('are put by the moment, in whichever time zone it is written', async () => {
    const { chat } = await opened();
    told('chat_messages.inserted', message('m4', 4));
    told('chat_messages.inserted', message('m3', 3, { created_at: '2026-11-21T16:22:03.5+02:00' }));
    expect(texts(chat)).toEqual(['says m1', 'says m2', 'says m3', 'says m4']);
  });

  it('bring the whole of what was too large to send by reading it', async () => {
    const { chat } = await opened();
    server.answer('GET', messages, { messages: [message('m3', 3, { content: 'large' })], cursor: 'c3', previous: null });
    server.emit('chat_messages.inserted', undefined, { subject: 's1', truncated: true });
    await vi.waitFor(() => expect(texts(chat)).toEqual(['large']));
  });

  it('tell that the session takes no more messages', async () => {
    const { chat } = await opened();
    told('chat_sessions.updated', { id: 's1', status: 'ended' });
    expect(chat.get().isOpen).toBe(false);
  });
});

describe('an answer', () => {
  const answer = (more: Partial<Message> = {}) => message('a1', 3, { role: 'assistant', author: null, status: 'sending', content: '', ...more });
  const delta = (index: number, text: string) => live('chat.delta', { message_id: 'a1', session_id: 's1', index, text });

  it('appears word by word and ends as its row has it', async () => {
    const { chat } = await opened();
    told('chat_messages.inserted', answer());
    expect(chat.get().isTyping).toBe(true);
    delta(0, 'You ');
    delta(1, 'said: ');
    expect(texts(chat).at(-1)).toBe('You said: ');
    told('chat_messages.updated', answer({ status: 'sent', content: 'You said: Hello?' }));
    delta(2, 'late');
    expect(texts(chat).at(-1)).toBe('You said: Hello?');
    expect(chat.get().isTyping).toBe(false);
  });

  it('begins anew with index 0', async () => {
    const { chat } = await opened();
    told('chat_messages.inserted', answer());
    delta(0, 'One ');
    delta(1, 'thing');
    delta(0, 'Other ');
    delta(1, 'thing');
    expect(texts(chat).at(-1)).toBe('Other thing');
  });

  it('is never shown with a hole', async () => {
    const { chat } = await opened();
    told('chat_messages.inserted', answer());
    delta(0, 'One ');
    delta(2, 'three');
    delta(3, 'four');
    expect(texts(chat).at(-1)).toBe('One ');
  });

  it('shows nothing to whoever comes in the middle, until it is there', async () => {
    const { chat } = await opened([message('m1', 1), answer()]);
    expect(chat.get().isTyping).toBe(true);
    delta(7, 'middle');
    expect(texts(chat).at(-1)).toBe('');
    told('chat_messages.updated', answer({ status: 'sent', content: 'All of it' }));
    expect(texts(chat).at(-1)).toBe('All of it');
  });
});

describe('typing', () => {
  it('of others is shown for five seconds, or until their message comes', async () => {
    const { chat } = await opened([], { me: 'ada', role: 'assistant' });
    vi.useFakeTimers();
    live('chat.typing', { sub: 'ann', role: 'user' });
    live('chat.typing', { sub: 'ada', role: 'assistant' });
    expect(chat.get()).toMatchObject({ isTyping: true, typing: ['ann'] });
    vi.advanceTimersByTime(4_000);
    live('chat.typing', { sub: 'ann', role: 'user' });
    vi.advanceTimersByTime(4_000);
    expect(chat.get().typing).toEqual(['ann']);
    vi.advanceTimersByTime(1_000);
    expect(chat.get()).toMatchObject({ isTyping: false, typing: [] });
    live('chat.typing', { sub: 'ann', role: 'user' });
    told('chat_messages.inserted', message('m3', 3));
    expect(chat.get().typing).toEqual([]);
  });

  it('of one\'s own is told at most every two seconds', async () => {
    vi.useFakeTimers();
    const chat = conversation(server, 's1');
    chat.tellTyping();
    chat.tellTyping();
    vi.advanceTimersByTime(2_000);
    chat.tellTyping();
    expect(server.commands).toEqual(Array(2).fill({ name: 'chat.typing', args: { tenant: 'acme', session: 's1' } }));
  });
});

describe('sending', () => {
  const stored = (asked: { body: unknown }) => {
    const { id, content } = asked.body as { id: string; content: string };
    return message(id, 5, { content });
  };

  it('shows the message at once and keeps it in its place when its event and the answer come', async () => {
    const { chat } = await opened();
    server.answer('POST', messages, stored);
    const sent = chat.send('Hello?');
    expect(chat.get().messages.at(-1)).toMatchObject({ content: 'Hello?', status: 'sending', role: 'user' });
    expect(chat.get().isTyping).toBe(true);
    const id = chat.get().messages.at(-1)!.id;
    told('chat_messages.inserted', message(id, 5, { content: 'Hello?' }));
    told('chat_messages.inserted', message('a1', 6, { role: 'assistant', status: 'sending', content: '' }));
    expect(chat.get().messages.map((row) => row.id)).toEqual(['m1', 'm2', id, 'a1']);
    expect(await sent).toMatchObject({ id, status: 'sent' });
    expect(chat.get().messages.map((row) => row.id)).toEqual(['m1', 'm2', id, 'a1']);
  });

  it('is shown once where the server keeps it under an id of its own', async () => {
    const { chat } = await opened();
    server.answer('POST', messages, () => {
      told('chat_messages.inserted', message('hash', 5, { content: 'Hello?' }));
      expect(texts(chat)).toEqual(['says m1', 'says m2', 'Hello?']);
      return message('hash', 5, { content: 'Hello?' });
    });
    await chat.send('Hello?');
    expect(chat.get().messages.map(({ id }) => id)).toEqual(['m1', 'm2', 'hash']);
  });

  it('does not set back what an event has changed before the answer came', async () => {
    const { chat } = await opened();
    server.answer('POST', messages, (asked: { body: unknown }) => {
      const { id } = asked.body as { id: string };
      told('chat_messages.inserted', message(id, 5, { content: 'Hello?' }));
      told('chat_messages.updated', message(id, 5, { content: 'Redacted', updated_at: at(6) }));
      return message(id, 5, { content: 'Hello?' });
    });
    await chat.send('Hello?');
    expect(texts(chat).at(-1)).toBe('Redacted');
  });

  it('takes a refused message away, says why, and no longer waits for an answer', async () => {
    const { chat } = await opened();
    server.answer('POST', messages, () => Promise.reject(new Problem('conflict', 'the session has ended', 409, null, { id: 's1', status: 'ended' })));
    expect(await chat.send('Hello?')).toBeNull();
    expect(texts(chat)).toEqual(['says m1', 'says m2']);
    expect(chat.get()).toMatchObject({ isTyping: false, isOpen: false, error: { code: 'conflict' } });
  });

  it('keeps a message that had no answer, and sends it again under the same id', async () => {
    const { chat } = await opened();
    const ids: string[] = [];
    server.answer('POST', messages, (asked: { body: { id: string } }) => {
      ids.push(asked.body.id);
      if (ids.length === 1) throw new Problem('unreachable', 'no answer');
      return stored(asked);
    });
    expect(await chat.send('Hello?')).toBeNull();
    expect(chat.get().messages.at(-1)).toMatchObject({ content: 'Hello?', status: 'failed' });
    const again = chat.retry(ids[0]);
    expect(chat.get().messages.at(-1)).toMatchObject({ content: 'Hello?', status: 'sending' });
    await again;
    expect(ids).toEqual([ids[0], ids[0]]);
    expect(chat.get().messages.at(-1)).toMatchObject({ id: ids[0], status: 'sent' });
    expect(chat.get().messages).toHaveLength(3);
  });

  it('keeps a message that did not get through when the history is read anew, unless it is in it', async () => {
    const { chat } = await opened();
    server.answer('POST', messages, () => Promise.reject(new Problem('unreachable', 'no answer')));
    await chat.send('Lost');
    await chat.send('Answer lost');
    const there = chat.get().messages.at(-1)!.id;
    server.answer('GET', messages, { messages: [message('m1', 1), message(there, 7, { content: 'Answer lost' })], cursor: 'c9', previous: null });
    server.reset();
    await vi.waitFor(() => expect(chat.get().messages.map(({ content, status }) => `${content} ${status}`)).toEqual(['says m1 sent', 'Answer lost sent', 'Lost failed']));
  });

  it('forgets a failed message on demand', async () => {
    const { chat } = await opened();
    server.answer('POST', messages, () => Promise.reject(new Problem('full', 'too busy', 503)));
    await chat.send('Hello?');
    chat.discard(chat.get().messages.at(-1)!.id);
    expect(texts(chat)).toEqual(['says m1', 'says m2']);
  });

  it('names the role only where it is not the user\'s', async () => {
    const { chat } = await opened([], { role: 'assistant' });
    server.answer('POST', messages, stored);
    await chat.send('Let me look.');
    expect(server.requests.at(-1)!.body).toMatchObject({ content: 'Let me look.', role: 'assistant' });
  });
});

describe('a follow-up', () => {
  it('is asked for once nothing was edited for two seconds, with the last text', async () => {
    const { chat } = await opened();
    vi.useFakeTimers();
    server.answer('POST', '*/follow-up', { due_at: at(9) });
    chat.followUp('A first text');
    vi.advanceTimersByTime(1_999);
    chat.followUp('A second text');
    vi.advanceTimersByTime(1_999);
    expect(server.requests.filter(({ method }) => method === 'POST')).toEqual([]);
    vi.advanceTimersByTime(1);
    expect(server.requests.at(-1)).toMatchObject({ path: '/v1/tenants/acme/chat/sessions/s1/follow-up', body: { content: 'A second text', trigger: 'edit' } });
  });

  it('is not asked for by ten characters or fewer, nor after the end', async () => {
    const { chat, end } = await opened();
    vi.useFakeTimers();
    chat.followUp('0123456789');
    vi.advanceTimersByTime(3_000);
    chat.followUp('0123456789a');
    end();
    await vi.advanceTimersByTimeAsync(3_000);
    expect(server.requests.filter(({ method }) => method === 'POST')).toEqual([]);
  });
});
