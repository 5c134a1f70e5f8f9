/** What arrives: one CloudEvents 1.0 object, as the server sends it. */
export interface TidingsEvent<Type extends string = string, Data = unknown> {
  specversion: '1.0';
  /** Opaque; the same id is the same event. Absent from what is live only: `chat.delta`, typing, events of plain channels. */
  id?: string;
  source: string;
  type: Type;
  /** The row's primary key as text. */
  subject?: string;
  /** When the change was captured: UTC with microseconds. */
  time: string;
  tenant: string;
  /** The one user it is for; absent: the whole tenant. */
  audience?: string;
  /** Updates: the columns that changed, comma separated. */
  changed?: string;
  /** W3C Trace Context of the transaction that made it, where that set one. */
  traceparent?: string;
  /** The row after the change, or before a delete. */
  data: Data;
  /** The row was too large to send: fetch it by its subject. */
  truncated?: true;
}

/** A map from an event's type to its data, as `tidings triggers types` writes it. */
export type AnyEvents = Record<string, unknown>;

/** Whether a type is matched by a glob, in which `*` stands for any run of characters. */
type Matches<Type extends string, Glob extends string> = string extends Glob
  ? true
  : Glob extends `${infer Head}*${infer Tail}`
    ? Type extends `${Head}${infer Rest}`
      ? Tail extends ''
        ? true
        : EndsLike<Rest, Tail>
      : false
    : Type extends Glob
      ? true
      : false;

type EndsLike<Text extends string, Glob extends string> =
  Matches<Text, Glob> extends true ? true : Text extends `${string}${infer Rest}` ? (Rest extends '' ? false : EndsLike<Rest, Glob>) : false;

/** The events of a map that one of the globs matches: a union that narrows by `type`. */
export type EventsOf<Map extends object, Glob extends string> = string extends keyof Map
  ? TidingsEvent
  : { [Type in keyof Map & string]: true extends (Glob extends string ? Matches<Type, Glob> : never) ? TidingsEvent<Type, Map[Type]> : never }[keyof Map & string];

/** What may be written where types are chosen: a known type, or a glob. */
export type TypeGlob<Map extends object> = (keyof Map & string) | (string & {});
