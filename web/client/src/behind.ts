/**
 * Subscriptions that are elsewhere than the link of their convoy: they read pages from where they are while what the link brings is held for them, and then
 * go along with it.
 */
import type { Convoy } from './convoy';
import { page, type Page } from './poll';
import { asProblem, isRefusal, type Problem } from './problem';
import type { Member } from './subscription';
import { wireOf } from './wire';

/** With more than a few, a busy stream would never be joined. */
const ROUNDS = 5;

/** Brings these to where the link is, those at one place together. Where that cannot be for some, the others go on first. */
export async function follow(convoy: Convoy, behind: readonly Member[], signal: AbortSignal): Promise<void> {
  const groups = new Map<string | null, Member[]>();
  for (const member of behind) groups.set(member.cursor, [...(groups.get(member.cursor) ?? []), member]);
  const ends = await Promise.allSettled(
    Array.from(groups.values(), async (group) => {
      await followTogether(convoy, group, signal);
      signal.throwIfAborted();
      for (const member of group) convoy.join(member, true);
    }),
  );
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
}

/**
 * A list may have shown an event before the link brought it. So what was held is asked for once more: what is new to them comes in a page, and what
 * does not was in their list. A link that lags behind lists for longer than this takes is not expected.
 */
async function followTogether(convoy: Convoy, group: readonly Member[], signal: AbortSignal): Promise<void> {
  let doubtful = new Set<unknown>();
  for (let round = 0; round <= ROUNDS; round++) {
    if (!(await catchUp(convoy, group, signal))) return;
    for (const member of group) member.held = member.held?.filter((event) => !doubtful.has(event)) ?? null;
    doubtful = new Set(group.flatMap(({ held }) => held?.filter(({ id }) => id !== undefined) ?? []));
    if (doubtful.size === 0) return;
  }
}

/** Pages from where these are up to now. False where what they missed cannot be told. */
async function catchUp(convoy: Convoy, group: readonly Member[], signal: AbortSignal): Promise<boolean> {
  for (let after = group[0]!.cursor!; ; ) {
    let found: Page;
    try {
      found = await page(convoy.api, wireOf(convoy.tenant, group), after, 0, signal);
    } catch (error) {
      if (signal.aborted || !convoy.lose(group, asProblem(error))) throw error;
      return false;
    }
    signal.throwIfAborted();
    const ids = new Set(found.events.map(({ id }) => id));
    for (const member of group) {
      member.begin(after, true);
      member.held = member.held?.filter(({ id }) => id === undefined || !ids.has(id)) ?? null;
      for (const event of found.events) convoy.give(member, event);
      convoy.move(member, found.cursor);
    }
    after = found.cursor;
    if (!found.more) return true;
  }
}

/** Refuses those whom the server refuses, so that the others go on. False where there are none. */
export async function refuse({ api, tenant, members }: Convoy, why: Problem, signal: AbortSignal): Promise<boolean> {
  const all = [...members];
  const answers = all.length === 1 ? [why] : await Promise.all(all.map((member) => page(api, wireOf(tenant, [member]), member.cursor ?? 'now', 0, signal).then(() => null, asProblem)));
  if (signal.aborted) return false;
  const refused = all.filter((_, index) => answers[index] && isRefusal(answers[index]));
  for (const member of refused) member.refuse(answers[all.indexOf(member)]!);
  return refused.length > 0;
}
