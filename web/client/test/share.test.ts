/** Tabs of one browser on one connection, against the real server: what each tab sees, whatever becomes of the one that leads. */
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { Bridge, tidings, token, type Rights } from '../../e2e/support/bridge';
import { startPostgres, until, type Postgres } from '../../e2e/support/postgres';
import type { Connection, Options } from '../src/connection';
import { open } from '../src/connect';
import { Browser, type Tab } from './locks';
import { shared } from './shared';

vi.setConfig({ testTimeout: 60_000 });

let postgres: Postgres;
let bridge: Bridge;

beforeAll(async () => {
  postgres = await startPostgres();
  tidings(postgres.url, 'migrate');
  bridge = await Bridge.start(postgres.url);
}, 60_000);

afterAll(async () => {
  await bridge?.stop();
  await postgres?.stop();
});

const opened: Connection[] = [];
afterEach(() => {
  vi.useRealTimers();
  for (const connection of opened.splice(0)) connection.close();
});

let tenants = 0;
let acme = '';
const ann = (): Rights => ({ sub: 'ann', tenants: [acme] });

/** One page in one tab: what it is told of orders, in the order in which it is told. */
class Page {
  readonly got: number[] = [];
  readonly resets: string[] = [];
  readonly tab: Tab;
  readonly connection: Connection;

  constructor(browser: Browser, rights = ann(), more: Partial<Options> = {}, tab = browser.tab()) {
    this.tab = tab;
    const options = { url: bridge.url, tenant: acme, getToken: () => token(rights), storage: null, random: () => 0, ...more };
    this.connection = shared(options, open, tab);
    opened.push(this.connection);
  }

  async follow(after?: string): Promise<this> {
    const subscription = this.connection.subscribe({ types: ['order.*'], ...(after === undefined ? {} : { after }) }, {
      event: ({ data }) => this.got.push((data as { n: number }).n),
      reset: ({ reason }) => this.resets.push(reason),
    });
    await subscription.ready;
    return this;
  }

  get leads(): boolean {
    return this.connection.status.leads;
  }
}

const emit = (n: number, more: object = {}) =>
  bridge.request('POST', `/v1/tenants/${encodeURIComponent(acme)}/events`, token({ sub: 'shop', tenants: [acme], role: 'service' }), { type: 'order.made', data: { n }, ...more });

async function emitAll(from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n++) await emit(n);
}

const numbers = (to: number) => Array.from({ length: to }, (_, index) => index + 1);

/** Each page has been told of each of these once, in their order. */
async function each(pages: Page[], to: number): Promise<void> {
  await until(`${to} events in ${pages.length} pages`, () => pages.every(({ got }) => got.includes(to)));
  for (const { got, resets } of pages) {
    expect(got).toEqual(numbers(to));
    expect(resets).toEqual([]);
  }
}

const root = () => token({ sub: 'root', role: 'admin' });

/** Those of this test, at the server. */
async function rows(): Promise<{ connection: string; sub: string }[]> {
  const { connections } = (await bridge.request('GET', '/v1/stats', root())) as { connections: { connection: string; sub: string; tenants: string[] }[] };
  return connections.filter(({ tenants }) => tenants.includes(acme));
}

const connections = async () => (await rows()).length;

/** Where a connection takes the place of another one, there are two for a moment. */
const oneConnection = () => until('there is one connection', async () => (await connections()) === 1);

async function pagesOf(count: number): Promise<Page[]> {
  const browser = new Browser();
  const pages: Page[] = [];
  for (let n = 0; n < count; n++) pages.push(await new Page(browser).follow());
  return pages;
}

const leaderOf = (pages: Page[]) => pages.find(({ leads }) => leads)!;

describe('tabs of one browser', () => {
  it('cost the server one connection, and each sees each event once', async () => {
    acme = `acme-${++tenants}`;
    const pages = await pagesOf(6);
    await emitAll(1, 20);
    await each(pages, 20);
    await oneConnection();
    expect(pages.filter(({ leads }) => leads)).toHaveLength(1);
    expect(pages.map(({ connection }) => connection.status.state)).toEqual(Array(6).fill('connected'));
    expect(pages.filter(({ connection }) => connection.status.shared)).toHaveLength(5);
  });

  it('lose and repeat nothing when the leader closes amid a burst', async () => {
    acme = `acme-${++tenants}`;
    const pages = await pagesOf(4);
    const first = leaderOf(pages);
    const burst = emitAll(1, 120);
    await until('the burst is under way', () => first.got.length > 30);
    first.connection.close();
    await burst;
    await each(pages.filter((page) => page !== first), 120);
    await oneConnection();
  });

  it('lose and repeat nothing when the leader crashes amid a burst', async () => {
    acme = `acme-${++tenants}`;
    const pages = await pagesOf(4);
    const first = leaderOf(pages);
    const burst = emitAll(1, 120);
    await until('the burst is under way', () => first.got.length > 30);
    first.tab.crash();
    await burst;
    const rest = pages.filter((page) => page !== first);
    await each(rest, 120);
    expect(rest.filter(({ leads }) => leads)).toHaveLength(1);
  });

  it('go on without a leader that is frozen, which follows when it wakes', async () => {
    acme = `acme-${++tenants}`;
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const pages = await pagesOf(3);
    const first = leaderOf(pages);
    await emitAll(1, 10);
    await each(pages, 10);
    first.tab.freeze();
    await emitAll(11, 20);
    const rest = pages.filter((page) => page !== first);
    await until('another one leads', () => {
      vi.advanceTimersByTime(4_000);
      return rest.some(({ leads }) => leads);
    });
    await each(rest, 20);
    first.tab.wake();
    await until('it follows', () => !first.leads && first.connection.status.shared);
    await emitAll(21, 30);
    await each(pages, 30);
    await oneConnection();
  });

  it('keep a leader that is busy with nothing', async () => {
    acme = `acme-${++tenants}`;
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const pages = await pagesOf(2);
    const first = leaderOf(pages);
    for (let n = 1; n <= 8; n++) {
      vi.advanceTimersByTime(4_000);
      await emit(n);
      await until('it came', () => pages.every(({ got }) => got.includes(n)));
    }
    expect(leaderOf(pages)).toBe(first);
  });

  it('hand over when the leader is put away, and it comes back as one of them', async () => {
    acme = `acme-${++tenants}`;
    const pages = await pagesOf(3);
    const first = leaderOf(pages);
    await emitAll(1, 5);
    await each(pages, 5);
    first.tab.page.dispatchEvent(new Event('pagehide'));
    await emitAll(6, 15);
    await each(pages, 15);
    expect(pages.filter(({ leads }) => leads)).toHaveLength(1);
    await oneConnection();
  });

  it('begin where each one is, not where the leader is', async () => {
    acme = `acme-${++tenants}`;
    const browser = new Browser();
    const first = await new Page(browser).follow();
    const { cursor } = (await bridge.request('GET', `/v1/tenants/${acme}/events?types=-`, token(ann()))) as { cursor: string };
    await emitAll(1, 10);
    await each([first], 10);
    const second = await new Page(browser).follow(cursor);
    await emitAll(11, 12);
    await each([first, second], 12);
  });

  it('leave nothing at the leader when they close or crash', async () => {
    acme = `acme-${++tenants}`;
    const [first, second, third] = (await pagesOf(3)) as [Page, Page, Page];
    second.connection.close();
    third.tab.crash();
    await emitAll(1, 3);
    await each([first], 3);
    expect(second.got).toEqual([]);
    expect(first.leads).toBe(true);
  });
});

describe('users of one browser', () => {
  it('have a connection each, and nothing of each other', async () => {
    acme = `acme-${++tenants}`;
    const browser = new Browser();
    const ofAnn = await new Page(browser).follow();
    const ofBen = await new Page(browser, { sub: 'ben', tenants: [acme] }).follow();
    await emit(1, { audience: 'ann' });
    await emit(2, { audience: 'ben' });
    await emit(3);
    await until('both were told', () => ofAnn.got.includes(3) && ofBen.got.includes(3));
    expect(ofAnn.got).toEqual([1, 3]);
    expect(ofBen.got).toEqual([2, 3]);
    expect([ofAnn.leads, ofBen.leads]).toEqual([true, true]);
    expect(await connections()).toBe(2);
  });

  it('with other rights in their token are others', async () => {
    acme = `acme-${++tenants}`;
    const browser = new Browser();
    await new Page(browser).follow();
    const narrow = await new Page(browser, { ...ann(), events: ['invoice.*'] }).follow();
    expect(narrow.leads).toBe(true);
  });

  it('leave the others when their token becomes somebody else’s', async () => {
    acme = `acme-${++tenants}`;
    const browser = new Browser();
    let sub = 'ann';
    const changing = new Page(browser, ann(), { getToken: () => token({ sub, tenants: [acme] }) });
    await changing.follow();
    const staying = await new Page(browser).follow();
    sub = 'ben';
    // The leader is told so when it connects again.
    for (const { connection } of await rows()) await bridge.request('DELETE', `/v1/connections/${connection}`, root());
    await until('both lead', () => changing.leads && staying.leads);
    await emit(1, { audience: 'ann' });
    await emit(2);
    await until('both were told', () => changing.got.includes(2) && staying.got.includes(2));
    expect(changing.got).toEqual([2]);
    expect(staying.got).toEqual([1, 2]);
    expect((await rows()).map(({ sub }) => sub).sort()).toEqual(['ann', 'ben']);
  });

  it('are told apart by their cookie, too', async () => {
    acme = `acme-${++tenants}`;
    const browser = new Browser();
    const jar = { sub: 'ann' };
    const withCookie: typeof fetch = (url, init) => {
      const headers = new Headers(init?.headers);
      headers.set('cookie', `tidings=${token({ sub: jar.sub, tenants: [acme] })}`);
      return fetch(url, { ...init, headers });
    };
    const page = () => {
      const made = new Page(browser, ann(), { fetch: withCookie, getToken: () => null });
      return made.follow();
    };
    await page();
    await page();
    expect((await rows()).map(({ sub }) => sub)).toEqual(['ann']);
    jar.sub = 'ben';
    for (const { connection } of await rows()) await bridge.request('DELETE', `/v1/connections/${connection}`, root());
    const subs = async () => (await rows()).map(({ sub }) => sub).join();
    await until('they are back, as ben', async () => (await subs()) === 'ben');
    // Another tab finds them under their new name.
    expect((await page()).leads).toBe(false);
    expect(await subs()).toBe('ben');
  });

  it('never say a token aloud', async () => {
    acme = `acme-${++tenants}`;
    const browser = new Browser();
    const mine = token(ann());
    const pages = [await new Page(browser, ann(), { getToken: () => mine }).follow(), await new Page(browser, ann(), { getToken: () => mine }).follow()];
    await emit(1);
    await each(pages, 1);
    expect(JSON.stringify(browser.said)).not.toContain(mine.split('.')[2]);
    expect(JSON.stringify(browser.said)).not.toContain(mine.split('.')[1]);
  });

  it('whose token is refused do not take it from those whose is not', async () => {
    acme = `acme-${++tenants}`;
    const browser = new Browser();
    // Signed by nobody: the name of the group is the same, the server refuses.
    const forged = `${token(ann()).split('.').slice(0, 2).join('.')}.AAAA`;
    const refused = new Page(browser, ann(), { getToken: () => forged });
    void refused.follow().catch(() => {});
    const good = await new Page(browser).follow();
    await until('it is closed', () => refused.connection.status.state === 'closed');
    expect(refused.connection.status.reason).toBe('unauthorised');
    await emit(1);
    await each([good], 1);
    expect(good.leads).toBe(true);
  });
});
