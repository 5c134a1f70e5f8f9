import type { Message } from './conversation';

/** Some words of an answer that is being written (`chat.delta`). */
export interface Delta {
  message_id: string;
  index: number;
  text: string;
}

/**
 * What is known of answers that are being written. The row of such an answer has no content until it is finished, so the words that came are
 * laid over it. Index 0 begins anew; behind a gap no more words are taken, since a text with a hole says something else: what was there stays until
 * the row brings all of it.
 */
export function drafts() {
  const byMessage = new Map<string, { text: string; next: number }>();
  return {
    /** The id of the message whose text has grown; null where it has not. */
    add({ message_id, index, text }: Delta): string | null {
      const draft = byMessage.get(message_id);
      if (index === 0) byMessage.set(message_id, { text, next: 1 });
      else if (draft?.next === index) byMessage.set(message_id, { text: draft.text + text, next: index + 1 });
      else return null;
      return message_id;
    },
    drop(id: string): void {
      byMessage.delete(id);
    },
    /** Drops the drafts of all that these do not show as being written. */
    keep(messages: readonly Message[]): void {
      const open = new Set(messages.filter(({ status }) => status === 'sending').map(({ id }) => id));
      for (const id of [...byMessage.keys()]) if (!open.has(id)) byMessage.delete(id);
    },
    /** The message with the words that came so far. */
    fill(message: Message): Message {
      const draft = message.status === 'sending' && byMessage.get(message.id);
      return draft ? { ...message, content: draft.text } : message;
    },
  };
}
