/** What the lanes of one connection share. */
import type { Api } from './api';
import type { MakeLink } from './link';
import type { Problem } from './problem';
import type { Member } from './subscription';
import type { Transports } from './transports';

export interface Road {
  readonly api: Api;
  readonly transports: Transports;
  readonly Socket: typeof WebSocket | undefined;
  readonly random: () => number;
  /** By the tab that leads, in place of the transports, where tabs share a connection. */
  shared(): Promise<MakeLink | undefined>;
  /** Something that the status shows is different. */
  changed(): void;
  /** Finds where named subscriptions were before this page was loaded. */
  recall(members: Iterable<Member>): Promise<void>;
  moved(member: Member): void;
  /** Not to come back. */
  finish(why: Problem): void;
}
