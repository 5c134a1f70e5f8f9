/** One way to one tenant's events: what the three transports have in common, so that nothing above them knows which it is. */
import type { TransportName } from './connection';
import type { TidingsEvent } from './event';
import type { Problem } from './problem';

/** What is asked of the server. */
export interface Wire {
  readonly tenant: string | null;
  /** Null: all. */
  readonly types: string[] | null;
  readonly subject: string | null;
}

/** What a link tells. After `ended` it tells nothing. */
export interface Ears {
  /** Something came, be it a heartbeat. */
  alive(): void;
  opened(told: { cursor: string; resumed: boolean; heartbeatMs: number }): void;
  event(event: TidingsEvent): void;
  moved(cursor: string): void;
  reset(reason: string, cursor: string | null): void;
  /** A refusal with its HTTP status; a close or `bye` with its code as status; status 0 where nobody said why. */
  ended(why: Problem): void;
}

export interface Link {
  readonly transport: TransportName;
  /** Without a word to its ears. */
  close(): void;
  /** Makes the other side say something. */
  ping?(): void;
  /** A fresh token, in place. */
  renew?(token: string): void;
  command(name: string, args: Record<string, unknown>): Promise<unknown>;
}

/** A way to a tenant's events in place of the transports. */
export type MakeLink = (wire: Wire, after: string | null, ears: Ears) => Link;
