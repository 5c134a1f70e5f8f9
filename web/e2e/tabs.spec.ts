/** Tabs of a real browser on one connection: locks, channels and the back/forward cache are the browser's own. */
import type { Browser, Page } from '@playwright/test';
import type { Connection } from '../client/src/connection';
import { application } from './support/application';
import { expect, test as base, token, type Rights } from './support/test';

/** What the page below leaves for the tests. */
interface Shown {
  connection: Connection;
  got: number[];
  resets: string[];
}
type Window = typeof globalThis & { shown: Shown };

const script = `
  import { connect } from '@tidings/client';
  const { url, tenant } = Object.fromEntries(new URLSearchParams(location.search));
  const shown = { got: [], resets: [] };
  shown.connection = connect({ url, tenant, getToken: () => fetch('/token').then((answer) => answer.text()) });
  shown.connection.subscribe({ types: ['order.*'] }, {
    event: (event) => shown.got.push(event.data.n),
    reset: (reset) => shown.resets.push(reset.reason),
    ready: () => (document.title = 'ready'),
  });
  window.shown = shown;
`;

interface Tabs {
  pages: Page[];
  url: string;
  add(): Promise<Page>;
}

const test = base.extend<{ tabs(rights: Rights, count: number, browser?: Browser): Promise<Tabs>; emit(from: number, to: number): Promise<void> }>({
  tabs: async ({ browser, bridge, acme }, use) => {
    const opened: { close(): unknown }[] = [];
    await use(async (rights, count, inside = browser) => {
      const site = await application(rights, { 'main.js': script });
      const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([site.origin]) });
      const context = await inside.newContext();
      opened.push(context, site);
      const add = async () => {
        const page = await context.newPage();
        await page.goto(`${site.origin}/?${new URLSearchParams({ url, tenant: acme })}`);
        await expect(page).toHaveTitle('ready');
        return page;
      };
      const pages: Page[] = [];
      for (let n = 0; n < count; n++) pages.push(await add());
      return { pages, url, add };
    });
    for (const one of opened) await one.close();
  },
  emit: async ({ acme, ask }, use) =>
    use(async (from, to) => {
      for (let n = from; n <= to; n++) await ask({ sub: 'shop', tenants: [acme], role: 'service' }, 'POST', `/v1/tenants/${acme}/events`, { type: 'order.made', data: { n } });
    }),
});

const numbers = (to: number) => Array.from({ length: to }, (_, index) => index + 1);

const told = (page: Page) => page.evaluate(() => ({ got: (window as unknown as Window).shown.got, resets: (window as unknown as Window).shown.resets }));
const status = (page: Page) => page.evaluate(() => (window as unknown as Window).shown.connection.status);

/** Each page was told of each of these once, in their order. */
async function each(pages: Page[], to: number): Promise<void> {
  for (const page of pages) await expect.poll(() => told(page)).toEqual({ got: numbers(to), resets: [] });
}

async function connections(url: string, tenant: string): Promise<number> {
  const answer = await fetch(`${url}/v1/stats`, { headers: { authorization: `Bearer ${token({ sub: 'root', role: 'admin' })}` } });
  const { connections } = (await answer.json()) as { connections: { tenants: string[] }[] };
  return connections.filter(({ tenants }) => tenants.includes(tenant)).length;
}

async function leaderOf(pages: Page[]): Promise<Page> {
  for (const page of pages) if ((await status(page)).leads) return page;
  throw new Error('nobody leads');
}

test('six tabs cost the server one connection, and each sees each event once', async ({ tabs, emit, acme }) => {
  const { pages, url } = await tabs({ sub: 'ann', tenants: [acme] }, 6);
  await emit(1, 10);
  await each(pages, 10);
  expect(await connections(url, acme)).toBe(1);
  const all = await Promise.all(pages.map(status));
  expect(all.map(({ state }) => state)).toEqual(Array(6).fill('connected'));
  expect(all.filter(({ leads }) => leads)).toHaveLength(1);
  expect(all.filter(({ shared }) => shared)).toHaveLength(5);
});

test('when the tab that leads is closed amid a burst, the others lose and repeat nothing', async ({ tabs, emit, acme }) => {
  const { pages, url } = await tabs({ sub: 'ann', tenants: [acme] }, 4);
  const leader = await leaderOf(pages);
  const burst = emit(1, 100);
  await expect.poll(async () => (await told(leader)).got.length).toBeGreaterThan(10);
  await leader.close();
  await burst;
  const rest = pages.filter((page) => page !== leader);
  await each(rest, 100);
  await leaderOf(rest);
  await expect.poll(() => connections(url, acme)).toBe(1);
});

test('when the process of the tab that leads is killed, another one leads', async ({ tabs, emit, acme }) => {
  const { pages, add } = await tabs({ sub: 'ann', tenants: [acme] }, 1);
  const leader = pages[0]!;
  // Of a page that was opened by itself, so that the process is not everybody's.
  const rest = [await add(), await add()];
  await emit(1, 5);
  await each([leader, ...rest], 5);
  const session = await leader.context().newCDPSession(leader);
  const crashed = leader.waitForEvent('crash');
  void session.send('Page.crash').catch(() => {});
  await crashed;
  await emit(6, 20);
  const alive: Page[] = [];
  // Chromium may have put pages of one site into one process: those went with it.
  for (const page of rest) if (await told(page).then(() => true, () => false)) alive.push(page);
  alive.push(await add().then(async (page) => (await expect.poll(async () => (await status(page)).state).toBe('connected'), page)));
  await emit(21, 25);
  for (const page of alive) await expect.poll(async () => (await told(page)).got.at(-1)).toBe(25);
  for (const page of alive) if (rest.includes(page)) expect((await told(page)).got).toEqual(numbers(25));
  await leaderOf(alive);
});

test('a tab that goes elsewhere and comes back from the cache goes on where it was, and the others meanwhile', async ({ tabs, emit, acme, playwright, launchOptions }) => {
  // Under test the browser does without that cache, unless it is told not to.
  const browser = await playwright.chromium.launch({ ...launchOptions, ignoreDefaultArgs: ['--disable-back-forward-cache'] });
  const { pages, url } = await tabs({ sub: 'ann', tenants: [acme] }, 3, browser);
  const leader = await leaderOf(pages);
  const rest = pages.filter((page) => page !== leader);
  await emit(1, 5);
  await each(pages, 5);
  await leader.goto(`${new URL(leader.url()).origin}/elsewhere`);
  await emit(6, 10);
  await each(rest, 10);
  await leader.goBack({ waitUntil: 'commit' });
  // The page that was left, and not one that was loaded anew.
  await emit(11, 12);
  await each(pages, 12);
  await expect.poll(() => connections(url, acme)).toBe(1);
  expect((await Promise.all(pages.map(status))).filter(({ leads }) => leads)).toHaveLength(1);
  await browser.close();
});

test('components of a page in StrictMode, and those of another tab, have one connection together', async ({ browser, bridge, acme, emit }) => {
  const code = `
    import { StrictMode } from 'react';
    import { createRoot } from 'react-dom/client';
    import { TidingsProvider, useConnection, useSSE } from '@tidings/client/react';
    const { url, tenant } = Object.fromEntries(new URLSearchParams(location.search));
    const getToken = () => fetch('/token').then((answer) => answer.text());
    function Orders() {
      const { events } = useSSE({ subscriptions: ['order.*'] });
      const { status } = useConnection();
      return <p>{status.state}: {events.length}</p>;
    }
    const Island = () => <StrictMode><TidingsProvider url={url} tenant={tenant} getToken={getToken}><Orders /><Orders /></TidingsProvider></StrictMode>;
    createRoot(document.getElementById('root')).render(<><Island /><Island /></>);
  `;
  const site = await application({ sub: 'ann', tenants: [acme] }, { 'main.js': code });
  const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([site.origin]) });
  const context = await browser.newContext();
  for (let n = 0; n < 2; n++) {
    const page = await context.newPage();
    await page.goto(`${site.origin}/?${new URLSearchParams({ url, tenant: acme })}`);
    await expect(page.getByText('connected: 0')).toHaveCount(4);
  }
  await emit(1, 3);
  for (const page of context.pages()) await expect(page.getByText('connected: 3')).toHaveCount(4);
  expect(await connections(url, acme)).toBe(1);
  await context.close();
  site.close();
});
