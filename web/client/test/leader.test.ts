/** What a tab that leads does for the lines of the others: each of them once, and only as long as it is there. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Status } from '../src/connection';
import { lead } from '../src/leader';
import { line, type Group, type SharedLink } from '../src/line';
import type { Ears, Wire } from '../src/link';
import { Problem } from '../src/problem';
import { Browser, type Tab } from './locks';
import { scripted, type Scripted } from './scripted';

const KEY = 'of these tests';
const ORDERS: Wire = { tenant: 'acme', types: ['order.*'], subject: null };

const soon = (what: () => void) => vi.waitFor(what, { timeout: 10_000 });

let browser: Browser;
let connection: Scripted;
let end: () => void;
let heard: { opened: unknown[]; events: unknown[]; resets: unknown[]; ended: Problem[]; statuses: Status[] };

beforeEach(() => {
  browser = new Browser();
  connection = scripted({ tenant: null });
  end = lead(KEY, browser.tab(), connection);
  heard = { opened: [], events: [], resets: [], ended: [], statuses: [] };
});
afterEach(() => end());

/** A line of a tab, which notes what it hears. */
function lineOf(tab: Tab, wire = ORDERS): SharedLink {
  const group: Group = {
    ...tab,
    enter: async () => KEY,
    mirror: (_, status) => heard.statuses.push(status),
    silence: () => {},
    moved: () => {},
    ended: () => {},
  };
  const ears: Ears = {
    alive: () => {},
    opened: (opened) => heard.opened.push(opened),
    event: ({ data }) => heard.events.push(data),
    moved: () => {},
    reset: (reason) => heard.resets.push(reason),
    ended: (why) => heard.ended.push(why),
  };
  return line(group, wire, null, ears);
}

/** One that the leader knows. */
async function joined(tab = browser.tab(), wire = ORDERS): Promise<SharedLink> {
  const before = connection.subscriptions.length;
  const link = lineOf(tab, wire);
  await soon(() => expect(connection.subscriptions).toHaveLength(before + 1));
  return link;
}

describe('a leader', () => {
  it('subscribes to what a line wants, of its tenant', async () => {
    await joined();
    expect(connection.subscriptions[0]!.filter).toEqual({ tenant: 'acme', types: ['order.*'], after: null });
  });

  it('says an event once for all lines that want it', async () => {
    await joined();
    await joined();
    await joined(browser.tab(), { ...ORDERS, types: ['invoice.*'] });
    connection.emit('order.made', 1);
    await soon(() => expect(heard.events).toEqual([1, 1]));
    const said = browser.said.filter((message) => JSON.stringify(message).includes('order.made'));
    expect(said).toHaveLength(1);
  });

  it('ends what a line wanted when the line closes', async () => {
    const link = await joined();
    link.close();
    await soon(() => expect(connection.subscriptions).toHaveLength(0));
  });

  it('ends what a line wanted when its tab crashes, and not when it only says nothing', async () => {
    const [crashing, silent] = [browser.tab(), browser.tab()];
    await joined(crashing);
    await joined(silent, { ...ORDERS, types: ['invoice.*'] });
    silent.freeze();
    crashing.crash();
    await soon(() => expect(connection.subscriptions.map(({ filter }) => filter.types)).toEqual([['invoice.*']]));
  });

  it('tells a reset, and a refusal of what one line wants', async () => {
    await joined();
    connection.reset('cursor_unknown');
    await soon(() => expect(heard.resets).toEqual(['cursor_unknown']));
    connection.subscriptions[0]!.refuse(new Problem('forbidden', 'not yours', 403));
    await soon(() => expect(heard.ended).toMatchObject([{ code: 'forbidden', status: 403 }]));
  });

  it('keeps it to itself when the server refuses its own credential', async () => {
    await joined();
    connection.subscriptions[0]!.refuse(new Problem('token_wrong_signature', 'no', 401));
    // What is said later has come, so the refusal would have.
    connection.setStatus({ state: 'offline' });
    await soon(() => expect(heard.statuses.at(-1)).toMatchObject({ state: 'offline' }));
    expect(heard.ended).toEqual([]);
  });

  it('tells how its connection is', async () => {
    await joined();
    connection.setStatus({ state: 'polling', transport: 'poll' });
    await soon(() => expect(heard.statuses.at(-1)).toMatchObject({ state: 'polling', transport: 'poll' }));
  });

  it('has lines made anew when its connection was, so that each subscription is told', async () => {
    await joined();
    connection.ready();
    await soon(() => expect(heard.opened).toHaveLength(1));
    connection.ready({ again: true });
    await soon(() => expect(heard.ended).toHaveLength(1));
  });

  it('gives a line the answer to its command, or the refusal with the state as it is', async () => {
    const link = await joined();
    connection.answerCommand('chat.end', () => ({ id: 'chs_1', status: 'ended' }));
    expect(await link.command!('chat.end', { tenant: 'acme', session: 'chs_1' })).toEqual({ id: 'chs_1', status: 'ended' });
    expect(connection.commands).toEqual([{ name: 'chat.end', args: { tenant: 'acme', session: 'chs_1' } }]);
    connection.answerCommand('chat.archive', () => Promise.reject(new Problem('conflict', 'not now', 409, null, { status: 'active' })));
    await expect(link.command!('chat.archive', {})).rejects.toMatchObject({ code: 'conflict', status: 409, current: { status: 'active' } });
  });

  it('shows what the tab shows that was looked at last, whatever the others say when they are hidden', async () => {
    const shown = () => connection.commands.map(({ args }) => args['session']);
    const [one, two] = [await joined(), await joined()];
    await one.command!('chat.view', { tenant: 'acme', session: 'one' });
    await two.command!('chat.view', { tenant: 'acme', session: 'two' });
    await one.command!('chat.view', { tenant: 'acme', session: null });
    expect(shown()).toEqual(['one', 'two', 'two']);
    await one.command!('chat.view', { tenant: 'acme', session: 'one' });
    one.close();
    await soon(() => expect(shown().slice(3)).toEqual(['one', 'two']));
    two.close();
    await soon(() => expect(shown().slice(5)).toEqual([null]));
  });

  it('does not heed what it does not understand', async () => {
    const stranger = new (browser.tab().Channel)(KEY);
    for (const said of [null, 'hello', 7, {}, { line: 7 }, { line: 'x', word: 'dance' }, { line: 'x', wire: 'all' }]) stranger.postMessage(said);
    lineOf(browser.tab());
    await soon(() => expect(connection.subscriptions.some(({ filter }) => filter.types?.[0] === 'order.*')).toBe(true));
    stranger.close();
  });
});
