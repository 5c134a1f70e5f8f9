/**
 * What the events of this database hold, by type: rows as events show them.
 *
 * Written by `tidings triggers types` from the watched tables. Do not edit it: write it again with
 * `tidings triggers types --out FILE`; `--check FILE` tells whether it is up to date.
 */

/** A row of public.shown. */
export type _2ndShownRow = unknown;

/** A row of public.shown_too. */
export interface _2ndShownRow2 {
  id: number;
}

/** A row of public."Odd Things". */
export interface OddThingsRow {
  id: number;
  m: 'sad' | 'it\'s ok';
  t: string;
  s: { x: number | null; 'y z': string | null; } | null;
  a: (number | null)[] | null;
  moods: ('sad' | 'it\'s ok' | null)[];
  d: (number | null)[] | null;
  j: unknown;
  /** ends *\/ here */
  n: number | null;
  o: string | null;
  at: string | null;
  day: string | null;
  '1st': string | null;
  b: boolean;
  r: string | null;
  i: string | null;
  u: string | null;
  k: 'a' | 'b' | null;
  v: 'c' | 'd\'e';
  p: string | null;
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
  '2nd-shown.deleted': _2ndShownRow | _2ndShownRow2;
  '2nd-shown.inserted': _2ndShownRow;
  '2nd-shown.updated': _2ndShownRow;
  'Odd Things.inserted': OddThingsRow;
  'Odd Things.truncated': Record<string, never>;
  'chat.delta': ChatDelta;
  'chat.metrics': ChatMetrics;
  'chat.presence': ChatPresence;
  'chat.typing': ChatTyping;
  'notifications.read': NotificationsRead;
  'notifications.seen': NotificationsSeen;
}
