import { useCallback, useMemo } from 'react';
import type { Connection } from '../src/connection';
import { conversation, type Conversation, type ConversationOptions, type ConversationState, type Message } from '../store/conversation';
import { cell } from '../store/store';
import { useConnection } from './useConnection';
import { useStore } from './useStore';

export interface ChatOptions extends ConversationOptions {
  connection?: Connection;
}

export interface Chat extends ConversationState {
  isConnected: boolean;
  /** Shows the message at once. Resolves to what was stored, or to null when it did not get through: then `error` says why. */
  sendMessage: (content: string, metadata?: Record<string, unknown>) => Promise<Message | null>;
  /** What the chat is about was edited: asks for a follow-up once nothing was edited for two seconds, of more than 10 characters. */
  generateFollowUp: (content: string) => void;
  /** Sends a `failed` message again; without an id, reads the history again. */
  retry: (id?: string) => Promise<Message | null>;
  /** Forgets a `failed` message. */
  discard: (id: string) => void;
  loadEarlier: () => Promise<void>;
  /** To be called while somebody types. */
  tellTyping: () => void;
}

const nothing = cell<ConversationState>({
  messages: [],
  isLoading: false,
  isLoadingEarlier: false,
  hasEarlier: false,
  isTyping: false,
  typing: [],
  error: null,
  isOpen: null,
});

/**
 * One chat session: its history, what is said from then on, answers while they are written, and sending. Without a session nothing is asked for.
 *
 * ```tsx
 * const { messages, sendMessage, isTyping } = useChat(session.id);
 * return <ChatPanel messages={messages} onSendMessage={sendMessage} isTyping={isTyping} />;
 * ```
 */
export function useChat(sessionId?: string | null, options: ChatOptions = {}): Chat {
  const { connection, isConnected } = useConnection(options.connection);
  const { tenant, me, role, limit } = options;
  const chat = useMemo<Conversation | null>(
    () =>
      sessionId
        ? conversation(connection, sessionId, {
            ...(tenant !== undefined && { tenant }),
            ...(me !== undefined && { me }),
            ...(role !== undefined && { role }),
            ...(limit !== undefined && { limit }),
          })
        : null,
    [connection, sessionId, tenant, me, role, limit],
  );
  const state = useStore<ConversationState>(chat ?? nothing);
  return {
    ...state,
    isConnected,
    sendMessage: useCallback(async (content, metadata) => chat?.send(content, metadata) ?? null, [chat]),
    generateFollowUp: useCallback((content) => chat?.followUp(content), [chat]),
    retry: useCallback(async (id) => chat?.retry(id) ?? null, [chat]),
    discard: useCallback((id) => chat?.discard(id), [chat]),
    loadEarlier: useCallback(async () => chat?.loadEarlier(), [chat]),
    tellTyping: useCallback(() => chat?.tellTyping(), [chat]),
  };
}
