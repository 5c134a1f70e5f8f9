import type { Connection, Subscription } from '../src/connection';
import type { TidingsEvent } from '../src/event';
import type { Problem } from '../src/problem';
import { drafts, type Delta } from './drafts';
import { optimistic } from './optimistic';
import { passing, problemOf } from './refusal';
import { instant } from './session';
import type { Store } from './store';

/**
 * The messages of one chat session, as everybody who may see it sees them: history first, then events from the cursor that came with it, so that
 * nothing is missed and nothing comes twice. Live while somebody listens; who comes back goes on where they left.
 */
export interface Conversation extends Store<ConversationState> {
  /** Shows the message at once. Null: it did not get through; then `error` says why, and one that may yet get through stays as `failed`. */
  send(content: string, metadata?: Record<string, unknown>): Promise<Message | null>;
  /** Sends a `failed` message again, under its own id, so that it cannot be there twice. Without an id: reads the history again. */
  retry(id?: string): Promise<Message | null>;
  /** Forgets a `failed` message. */
  discard(id: string): void;
  loadEarlier(): Promise<void>;
  /** Tells the others that somebody types here; may be called at each key. */
  tellTyping(): void;
  /** What the chat is about was edited. Asks for a follow-up once nothing was edited for two seconds; content of 10 characters or fewer asks nothing. */
  followUp(content: string): void;
}

export interface ConversationState {
  /** Oldest first. */
  readonly messages: readonly Message[];
  /** Until the history is there, or could not be had. */
  readonly isLoading: boolean;
  readonly isLoadingEarlier: boolean;
  readonly hasEarlier: boolean;
  /** An answer is being written, or was just asked for, or somebody types. */
  readonly isTyping: boolean;
  /** Who types: their `sub`s. */
  readonly typing: readonly string[];
  /** Of the last thing that went wrong; null again when something goes right. */
  readonly error: Problem | null;
  /** Waiting or active sessions take messages. Null until it is known. */
  readonly isOpen: boolean | null;
}

export interface Message {
  id: string;
  session_id: string;
  role: 'user' | 'assistant' | 'system';
  /** `sending`: on its way, or being written; `failed`: did not get through, see `retry`. */
  status: 'sending' | 'sent' | 'failed';
  content: string;
  metadata: Record<string, unknown>;
  author: string | null;
  created_at: string;
  updated_at: string;
}

export interface ConversationOptions {
  /** Where the connection names none. */
  tenant?: string;
  /** The own `sub`: who types elsewhere under it is not shown. Without it, whoever has the own role is not. */
  me?: string;
  /** As what messages are sent: `assistant` is for admins. */
  role?: 'user' | 'assistant';
  /** Messages of a page. */
  limit?: number;
}

interface Page {
  messages: Message[];
  cursor: string;
  previous: string | null;
}

/** Long enough to bridge the pause between two words, as the protocol advises. */
const typingShown = 5_000;
/** The server tells typing at most once a second. */
const typingTold = 2_000;
const followUpAfter = 2_000;
const followUpLongerThan = 10;

export function conversation(connection: Connection, session: string, options: ConversationOptions = {}): Conversation {
  const tenant = options.tenant ?? connection.tenant ?? '';
  const role = options.role ?? 'user';
  const base = `/v1/tenants/${encodeURIComponent(tenant)}/chat/sessions/${encodeURIComponent(session)}`;
  const limit = options.limit ?? 50;

  let subscription: Subscription | null = null;
  let cursor: string | null = null;
  let previous: string | null = null;
  let reading: AbortController | null = null;
  let attempts = 0;
  let isWaiting = false;
  /** Counts how often the history was read: what is earlier than an older one would leave a hole. */
  let era = 0;
  /** Messages that did not get through: nobody has them but this page. */
  const unsent = new Set<string>();
  let again: ReturnType<typeof setTimeout> | undefined;
  let edited: ReturnType<typeof setTimeout> | undefined;
  let toldAt = -Infinity;
  const typists = new Map<string, ReturnType<typeof setTimeout>>();
  const written = drafts();

  const store = optimistic<ConversationState>(
    { messages: [], isLoading: true, isLoadingEarlier: false, hasEarlier: false, isTyping: false, typing: [], error: null, isOpen: null },
    begin,
  );

  const patch = (change: Partial<ConversationState>) => store.learn((state) => ({ ...state, ...change }));

  function begin(): () => void {
    if (cursor === null) void read();
    else listen(cursor);
    // What waits to be asked again need not wait once the server is there.
    const forget = connection.onStatus(({ state }) => {
      if (isWaiting && (state === 'connected' || state === 'polling')) void read();
    });
    return () => {
      forget();
      isWaiting = false;
      reading?.abort();
      clearTimeout(again);
      clearTimeout(edited);
      for (const sub of [...typists.keys()]) quiet(sub);
      cursor = subscription?.cursor ?? cursor;
      subscription?.close();
      subscription = null;
    };
  }

  async function read(): Promise<void> {
    reading?.abort();
    clearTimeout(again);
    isWaiting = false;
    const { signal } = (reading = new AbortController());
    try {
      const [page, row] = await Promise.all([
        connection.request<Page>('GET', `${base}/messages?before=end&limit=${limit}`, undefined, { signal }),
        // What is open says the events from here on. A reader without this route still reads the messages.
        connection.request<{ status?: string }>('GET', base, undefined, { signal }).catch(() => ({ status: undefined })),
      ]);
      if (signal.aborted) return;
      attempts = 0;
      era += 1;
      cursor = page.cursor;
      previous = page.previous;
      written.keep(page.messages);
      const kept = store.facts().messages.filter(({ id, status }) => status === 'failed' && unsent.has(id) && !page.messages.some((row) => row.id === id));
      patch({
        messages: [...page.messages.map(written.fill), ...kept],
        hasEarlier: previous !== null,
        isLoading: false,
        isLoadingEarlier: false,
        error: null,
        ...(row.status && { isOpen: open(row.status) }),
      });
      writing();
      listen(cursor);
    } catch (thrown) {
      if (signal.aborted) return;
      const error = problemOf(thrown);
      patch({ isLoading: false, error });
      // What may pass is asked for again; the rest waits for `retry`.
      isWaiting = passing(error);
      if (isWaiting) again = setTimeout(() => void read(), error.retryAfterMs ?? Math.min(1_000 * 2 ** attempts++, 30_000));
    }
  }

  function listen(after: string): void {
    subscription?.close();
    subscription = connection.subscribe(
      { types: ['chat_messages.*', 'chat.delta', 'chat.typing', 'chat_sessions.updated'], subject: session, tenant, after },
      {
        event: (event) => take(event as TidingsEvent),
        // Read and subscribed to anew, for one moment that both are of: a list read beside a running stream may be older than what the stream brought.
        reset() {
          subscription?.close();
          subscription = null;
          cursor = null;
          void read();
        },
        error: (error) => patch({ error }),
      },
    );
  }

  function take({ type, data, truncated }: TidingsEvent): void {
    if (truncated) void read();
    else if (type === 'chat.delta') {
      const id = written.add(data as Delta);
      if (id) store.learn((state) => ({ ...state, messages: state.messages.map((message) => (message.id === id ? written.fill(message) : message)) }));
    } else if (type === 'chat.typing') {
      const { sub, role: theirs } = data as { sub: string; role: string };
      if (options.me === undefined ? theirs !== role : sub !== options.me) hear(sub);
    } else if (type === 'chat_sessions.updated') {
      patch({ isOpen: open((data as { status: string }).status) });
    } else {
      const message = data as Message;
      if (type === 'chat_messages.deleted') {
        written.drop(message.id);
        store.learn((state) => ({ ...state, messages: state.messages.filter(({ id }) => id !== message.id) }));
      } else if (message.id) {
        if (message.status !== 'sending') written.drop(message.id);
        store.learn((state) => ({ ...state, messages: put(state.messages, written.fill(message)) }));
        if (message.author !== null) quiet(message.author);
        if (message.role !== role) quiet('');
      }
      writing();
    }
  }

  // The empty name stands for an answer that was asked for and has not begun.
  function hear(sub: string): void {
    clearTimeout(typists.get(sub));
    typists.set(sub, setTimeout(() => quiet(sub), typingShown));
    writing();
  }

  function quiet(sub: string): void {
    clearTimeout(typists.get(sub));
    if (typists.delete(sub)) writing();
  }

  function writing(): void {
    const { messages, typing, isTyping } = store.facts();
    const names = [...typists.keys()].filter(Boolean);
    const answering = typists.size > 0 || messages.some((message) => message.status === 'sending' && message.role === 'assistant');
    if (isTyping !== answering || typing.join() !== names.join()) patch({ typing: names, isTyping: answering });
  }

  async function post(message: Message): Promise<Message | null> {
    // Whoever is not an admin asks somebody, so somebody is likely to begin.
    if (role === 'user') hear('');
    const known = new Set(store.get().messages.map(({ id }) => id));
    // Its own row may come before the answer, in a table with keys of its own also under another id than was asked for.
    const arrived = ({ messages }: ConversationState) =>
      messages.some((row) => (row.id === message.id ? row.status !== 'failed' : !known.has(row.id) && row.role === role && row.content === message.content));
    try {
      return await store.attempt<Message>(
        (state) => (arrived(state) ? state : { ...state, messages: append(state.messages, message) }),
        () =>
          connection.request('POST', `${base}/messages`, {
            id: message.id,
            content: message.content,
            ...(Object.keys(message.metadata).length ? { metadata: message.metadata } : {}),
            ...(role === 'user' ? {} : { role }),
          }),
        (state, answer) => ({ ...state, error: null, messages: settle(state.messages, message.id, answer) }),
      );
    } catch (thrown) {
      const error = problemOf(thrown);
      quiet('');
      if (passing(error)) unsent.add(message.id);
      else unsent.delete(message.id);
      // Refused: it goes. No answer, or a server that is ill: it may even be there, so it stays, to be sent again under the same id.
      store.learn((state) => ({
        ...state,
        error,
        isOpen: error.code === 'conflict' && statusOf(error.current) ? open(statusOf(error.current)) : state.isOpen,
        messages: arrived(state)
          ? state.messages
          : passing(error)
            ? append(state.messages, { ...message, status: 'failed' })
            : state.messages.filter(({ id }) => id !== message.id),
      }));
      return null;
    }
  }

  return {
    get: store.get,
    subscribe: store.subscribe,
    async send(content, metadata = {}) {
      const now = new Date().toISOString();
      return post({
        id: `msg_${crypto.randomUUID()}`,
        session_id: session,
        role,
        status: 'sending',
        content,
        metadata,
        author: options.me ?? null,
        created_at: now,
        updated_at: now,
      });
    },
    async retry(id) {
      if (id === undefined) {
        patch({ isLoading: store.facts().messages.length === 0, error: null });
        await read();
        return null;
      }
      const failed = store.facts().messages.find((message) => message.id === id && message.status === 'failed');
      return failed ? post({ ...failed, status: 'sending' }) : null;
    },
    discard(id) {
      unsent.delete(id);
      store.learn((state) => ({ ...state, messages: state.messages.filter((message) => message.id !== id || message.status !== 'failed') }));
    },
    async loadEarlier() {
      if (previous === null || store.facts().isLoadingEarlier) return;
      patch({ isLoadingEarlier: true });
      const asked = era;
      try {
        const page = await connection.request<Page>('GET', `${base}/messages?before=${encodeURIComponent(previous)}&limit=${limit}`);
        if (asked !== era) return;
        previous = page.previous;
        store.learn((state) => {
          const known = new Set(state.messages.map(({ id }) => id));
          return {
            ...state,
            messages: [...page.messages.filter(({ id }) => !known.has(id)), ...state.messages],
            hasEarlier: previous !== null,
            isLoadingEarlier: false,
            error: null,
          };
        });
      } catch (thrown) {
        if (asked === era) patch({ isLoadingEarlier: false, error: problemOf(thrown) });
      }
    },
    tellTyping() {
      const now = Date.now();
      if (now - toldAt < typingTold) return;
      toldAt = now;
      // Nobody misses it.
      connection.command('chat.typing', { tenant, session }).catch(() => undefined);
    },
    followUp(content) {
      clearTimeout(edited);
      if (content.length <= followUpLongerThan) return;
      edited = setTimeout(() => {
        connection.request('POST', `${base}/follow-up`, { content, trigger: 'edit' }).catch((thrown: unknown) => patch({ error: problemOf(thrown) }));
      }, followUpAfter);
    },
  };
}

function open(status: string): boolean {
  return status === 'waiting' || status === 'active';
}

function statusOf(session: unknown): string {
  return (session as { status?: string } | null)?.status ?? '';
}

/** At the end, once. */
function append(messages: readonly Message[], message: Message): Message[] {
  return [...messages.filter(({ id }) => id !== message.id), message];
}

/** In its place, or where its time puts it. */
function put(messages: readonly Message[], message: Message): readonly Message[] {
  const index = messages.findIndex(({ id }) => id === message.id);
  if (index >= 0) return messages.with(index, message);
  const at = instant(message.created_at);
  const before = messages.findLastIndex((other) => instant(other.created_at) < at || (instant(other.created_at) === at && other.id < message.id));
  return messages.toSpliced(before + 1, 0, message);
}

/** The answer in place of what was hoped for; an event that came before the answer may be newer than it. */
function settle(messages: readonly Message[], hoped: string, answer: Message): readonly Message[] {
  const rest = messages.filter(({ id, status }) => id !== hoped || status !== 'failed');
  const known = rest.find(({ id }) => id === answer.id);
  return known && instant(known.updated_at) >= instant(answer.updated_at) ? rest : put(rest, answer);
}
