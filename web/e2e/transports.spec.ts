/** The client in a browser, behind what stands between people and servers: each event once and in order, whatever happens on the way. */
import type { Page } from '@playwright/test';
import type { Connection, Options, TransportName } from '../client/src/index';
import { expect, test, token } from './support/test';

/** What the page under test keeps for us. */
interface Window {
  connection: Connection;
  seen: string[];
  resets: number;
  tokens: number;
}

/** A page of this address with a client in it that notes the names of documents as they come. */
async function follow(page: Page, at: string, tenant: string, options: { transport?: TransportName; tokens?: string[] } = {}): Promise<void> {
  await page.goto(`${at}/livez`);
  await page.evaluate(
    async ({ at, tenant, transport, tokens }) => {
      const { connect } = (await import(`${at}/assets/client.js`)) as { connect(options: Options): Connection };
      const window = globalThis as unknown as Window;
      Object.assign(window, { seen: [], resets: 0, tokens: 0 });
      // The last one for ever: by then the test is over.
      const getToken = () => tokens[Math.min(window.tokens++, tokens.length - 1)]!;
      window.connection = connect({ tenant, share: false, ...(transport && { transport }), getToken });
      await window.connection.subscribe({ types: ['documents.inserted'] }, {
        event: ({ data }) => window.seen.push((data as { name: string }).name),
        reset: () => window.resets++,
      }).ready;
    },
    { at, tenant, transport: options.transport, tokens: options.tokens ?? [token({ sub: 'ann', tenants: [tenant] })] },
  );
}

const seen = (page: Page) => page.evaluate(() => (globalThis as unknown as Window).seen);
const status = (page: Page) => page.evaluate(() => (globalThis as unknown as Window).connection.status);
const names = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => `${from + i}.pdf`);

const insert = `insert into public.documents (tenant_id, name) select $1, n || '.pdf' from generate_series($2::int, $3::int) n`;

for (const transport of ['websocket', 'sse', 'poll'] as const) {
  test(`over ${transport}, a connection that is cut again and again loses and repeats nothing`, async ({ acme, page, proxyOf, sql }) => {
    const proxy = await proxyOf();
    await follow(page, proxy.url, acme, { transport });
    expect((await status(page)).transport).toBe(transport);
    for (let from = 0; from < 40; from += 10) {
      await sql(insert, [acme, from, from + 4]);
      proxy.cut();
      await sql(insert, [acme, from + 5, from + 9]);
      await expect.poll(() => seen(page).then(({ length }) => length)).toBe(from + 10);
    }
    expect(await seen(page)).toEqual(names(0, 40));
  });

  test(`over ${transport}, a token that runs out is replaced, and nothing is lost`, async ({ acme, page, url, sql }) => {
    const rights = { sub: 'ann', tenants: [acme] };
    await follow(page, url, acme, { transport, tokens: [token({ ...rights, expiresIn: 3 }), token(rights)] });
    for (let from = 0; (await page.evaluate(() => (globalThis as unknown as Window).tokens)) < 2; from++) await sql(insert, [acme, from, from]);
    await sql(insert, [acme, 10_000, 10_000]);
    await expect.poll(() => seen(page).then((all) => all.at(-1))).toBe('10000.pdf');
    const all = await seen(page);
    expect(all).toEqual([...names(0, all.length - 1), '10000.pdf']);
  });
}

test('where a proxy takes no WebSocket, events come as a stream', async ({ acme, page, proxyOf, sql }) => {
  const proxy = await proxyOf();
  proxy.withoutWebSocket = true;
  await follow(page, proxy.url, acme);
  expect(await status(page)).toMatchObject({ state: 'connected', transport: 'sse' });
  await sql(insert, [acme, 0, 9]);
  await expect.poll(() => seen(page)).toEqual(names(0, 10));
});

test('where a proxy holds streams back as well, events are asked for, and none is missed over the change', async ({ acme, page, proxyOf, sql }) => {
  const proxy = await proxyOf();
  proxy.withoutWebSocket = true;
  await follow(page, proxy.url, acme);
  await sql(insert, [acme, 0, 4]);
  await expect.poll(() => seen(page)).toEqual(names(0, 5));
  proxy.buffering = true;
  proxy.cut();
  await sql(insert, [acme, 5, 9]);
  await expect.poll(() => status(page), { timeout: 40_000 }).toMatchObject({ state: 'polling', transport: 'poll' });
  await expect.poll(() => seen(page)).toEqual(names(0, 10));
  await sql(insert, [acme, 10, 19]);
  await expect.poll(() => seen(page)).toEqual(names(0, 20));
});

test('a line that went dead without a word is found out, and what was missed comes', async ({ acme, page, bridge, proxyOf, sql }) => {
  const proxy = await proxyOf((await bridge({ TIDINGS__HTTP__HEARTBEAT: '1s' })).url);
  await follow(page, proxy.url, acme);
  await sql(insert, [acme, 0, 4]);
  await expect.poll(() => seen(page)).toEqual(names(0, 5));
  proxy.silence();
  await sql(insert, [acme, 5, 9]);
  await expect.poll(() => status(page).then(({ state }) => state)).toBe('connecting');
  proxy.up();
  await expect.poll(() => seen(page), { timeout: 30_000 }).toEqual(names(0, 10));
});
