/**
 * The subscriptions that go along one link, and those on their way to it.
 *
 * Cursors cannot be compared. So where they stand at different places the link begins now, and they read pages from where they are while what it brings
 * is held for them; see `behind.ts`. Every place was known before, so nothing that the link brings had been seen by anybody.
 */
import type { Api } from './api';
import type { TidingsEvent } from './event';
import { isLost, type Problem } from './problem';
import type { Member } from './subscription';

export class Convoy {
  readonly members = new Set<Member>();
  /** How far the link is, and with it all who are live. */
  cursor: string | null = null;

  constructor(
    readonly api: Api,
    readonly tenant: string | null,
    readonly moved: (member: Member) => void,
  ) {}

  /** From where a link is to begin. Null: now; which is where one is that is open. */
  origin(open: boolean): string | null {
    const places = new Set(Array.from(this.members, ({ cursor }) => cursor));
    if (open && places.has(this.cursor)) places.delete(null);
    return places.size === 1 ? [...places][0]! : null;
  }

  /** Goes along from here. Who has read pages may be further than a link that lags, and comes back to that place if the link ends before it is there. */
  join(member: Member, resumed: boolean): void {
    if (!this.members.has(member) || member.live) return;
    const { held, cursor } = member;
    member.live = true;
    member.held = null;
    member.begin((held && cursor) ?? this.cursor!, resumed && cursor !== null);
    for (const event of held ?? []) this.give(member, event);
  }

  event(event: TidingsEvent): void {
    if (event.id !== undefined) this.cursor = event.id;
    for (const member of [...this.members]) {
      if (member.held) member.wants(event) && member.held.push(event);
      else if (member.live) this.give(member, event);
    }
  }

  advance(cursor: string): void {
    this.cursor = cursor;
    for (const member of this.members) if (member.live) this.move(member, cursor);
  }

  reset(reason: string, cursor: string | null): void {
    this.cursor = cursor;
    for (const member of this.members) if (member.live) member.reset(reason, cursor);
  }

  /** The link has ended. */
  halt(): void {
    for (const member of this.members) {
      member.live = member.told = false;
      member.held = null;
    }
  }

  give(member: Member, event: TidingsEvent): void {
    if (event.id !== undefined) this.move(member, event.id);
    member.take(event);
  }

  move(member: Member, cursor: string): void {
    member.cursor = cursor;
    this.moved(member);
  }

  /** Where the cursor is at fault, those who were there begin anew, and are told. Whether that is so. */
  lose(there: readonly Member[], why: Problem): boolean {
    if (!isLost(why)) return false;
    for (const member of there) [member.lost, member.cursor] = [why.status === 410 ? why.code : 'cursor_unknown', null];
    return there.length > 0;
  }
}
