/**
 * What the events of this database hold, by type: rows as events show them.
 *
 * Written by `tidings triggers types` from the watched tables. Do not edit it: write it again with
 * `tidings triggers types --out FILE`; `--check FILE` tells whether it is up to date.
 */

/** A row of public.chat_messages. */
export interface ChatMessagesRow {
  /** Chosen by the client, or given by default; unique within the session. */
  id: string;
  tenant_id: string;
  session_id: string;
  role: 'user' | 'assistant' | 'system';
  /** sending while an answer is being written, then sent or failed. */
  status: 'sending' | 'sent' | 'failed';
  content: string;
  metadata: unknown;
  created_at: string;
  updated_at: string;
  /** sub of the session's user, so that an event knows whom it is for. Filled in by a trigger. */
  user_id: string | null;
  /** sub of whoever wrote it; null for assistants and the system. */
  author: string | null;
}

/** A row of public.chat_sessions. */
export interface ChatSessionsRow {
  id: string;
  tenant_id: string;
  /** sub of the user who asked. */
  user_id: string | null;
  subject: string | null;
  /** waiting, active, ended, archived; only forwards. */
  status: 'waiting' | 'active' | 'ended' | 'archived';
  /** sub of whoever answers; null while nobody does. */
  assigned_to: string | null;
  created_at: string;
  updated_at: string;
  /** When waiting ended; started_at - created_at is the waiting time. */
  started_at: string | null;
  ended_at: string | null;
  last_message_at: string | null;
  /** The application's own: the post it is about, say. */
  metadata: unknown;
}

/** A row of public.documents. */
export interface DocumentsRow {
  id: string;
  tenant_id: string;
  /** sub of the uploader; no reference, since services upload too and users leave. */
  uploaded_by: string | null;
  name: string;
  url: string | null;
  /** Bytes. */
  size: number | null;
  mime_type: string | null;
  metadata: unknown;
  /** uploaded, processing, then processed or failed. */
  status: 'uploaded' | 'processing' | 'processed' | 'failed';
  /** What processing is doing, in a word; null outside of it. */
  stage: string | null;
  /** Percent of processing; null where it is not known. */
  progress: number | null;
  /** Why it failed: {"code", "message"}; null unless status is failed. */
  error: unknown;
  created_at: string;
  updated_at: string;
}

/** A row of public.notifications. */
export interface NotificationsRow {
  id: string;
  tenant_id: string;
  type: string;
  title: string;
  message: string;
  metadata: unknown;
  created_at: string;
  /** sub of whoever caused it; null for the system. */
  created_by: string | null;
}

export interface ChatDelta {
  session_id: string;
  message_id: string;
  index: number;
  text: string;
}

export interface ChatMetrics {
  sessions: { waiting: number; active: number; ended: number; archived: number };
  waiting_time: { average_s: number | null; longest_s: number | null };
  messages_per_minute: number;
}

export interface ChatPresence {
  session_id: string;
  viewers: string[];
}

export interface ChatTyping {
  session_id: string;
  sub: string;
  role: 'user' | 'assistant' | 'system';
}

export interface NotificationsRead {
  id: string | null;
  read: boolean | null;
  archived: boolean | null;
}

export interface NotificationsSeen {
  id: string | null;
  seen: boolean;
}

/** From the type of an event to its data. */
export interface TidingsEvents {
  'chat.delta': ChatDelta;
  'chat.metrics': ChatMetrics;
  'chat.presence': ChatPresence;
  'chat.typing': ChatTyping;
  'chat_messages.deleted': ChatMessagesRow;
  'chat_messages.inserted': ChatMessagesRow;
  'chat_messages.updated': ChatMessagesRow;
  'chat_sessions.deleted': ChatSessionsRow;
  'chat_sessions.inserted': ChatSessionsRow;
  'chat_sessions.updated': ChatSessionsRow;
  'documents.deleted': DocumentsRow;
  'documents.inserted': DocumentsRow;
  'documents.updated': DocumentsRow;
  'notifications.deleted': NotificationsRow;
  'notifications.inserted': NotificationsRow;
  'notifications.read': NotificationsRead;
  'notifications.seen': NotificationsSeen;
  'notifications.updated': NotificationsRow;
}
