/**
 * The small language of these tests. Each test has tenants of its own in one shared database, so that they may run side by side.
 *
 *     test('…', async ({ acme, open, sql }) => {
 *       const page = await open('/notifications', { sub: 'ann', tenants: [acme] });
 *       await sql(`insert into documents (tenant_id, name) values ($1, 'Plan.pdf')`, [acme]);
 *       await expect(page.getByText('Plan.pdf')).toBeVisible();
 *     });
 */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { expect, test as base, type BrowserContextOptions, type Page } from '@playwright/test';
import pg from 'pg';
import { Bridge, token, type Rights } from './bridge';
import { Proxy } from './proxy';

export { expect } from '@playwright/test';
export { token, type Rights } from './bridge';
export type { Proxy } from './proxy';

interface Fixtures {
  /** The shared bridge's address. */
  url: string;
  /** A tenant of this test alone, with the users ann, ben and ada. */
  acme: string;
  /** Another one. */
  globex: string;
  sql(text: string, values?: unknown[]): Promise<Record<string, unknown>[]>;
  /** A page in a browser context of its own, signed in with a ticket. `at` is another bridge's or a proxy's address. */
  open(path: string, rights: Rights, more?: BrowserContextOptions & { at?: string }): Promise<Page>;
  /** A bridge of this test alone, which may be stopped and restarted. */
  bridge(settings?: Record<string, string>): Promise<Bridge>;
  /** A proxy in front of an address, which can misbehave. */
  proxyOf(target?: string): Promise<Proxy>;
  /** A request to the shared bridge. */
  ask(rights: Rights, method: string, path: string, body?: unknown): Promise<unknown>;
  /** Fails with what axe finds wrong with the page. */
  accessible(page: Page): Promise<void>;
}

let database: pg.Pool | undefined;
let tenants = 0;

async function tenant(sql: Fixtures['sql'], name: string, run: string): Promise<string> {
  const id = `${name}-${run}-${++tenants}`;
  await sql('insert into public.tenants (id, name) values ($1, $2)', [id, name]);
  for (const [user, full] of [['ann', 'Ann Archer'], ['ben', 'Ben Osei'], ['ada', 'Ada Kwon']] as const) {
    await sql('insert into public.users (tenant_id, id, name, email) values ($1, $2, $3, $2 || $4)', [id, user, full, '@example.org']);
  }
  return id;
}

export const test = base.extend<Fixtures>({
  url: async ({}, use) => use(process.env['E2E_BRIDGE']!),
  sql: async ({}, use) => {
    database ??= new pg.Pool({ connectionString: process.env['E2E_DATABASE']!, max: 4, idleTimeoutMillis: 1000, allowExitOnIdle: true });
    const pool = database;
    await use(async (text, values) => (await pool.query(text, values)).rows as Record<string, unknown>[]);
  },
  acme: async ({ sql }, use, info) => use(await tenant(sql, 'acme', `${process.pid}-${info.workerIndex}`)),
  globex: async ({ sql }, use, info) => use(await tenant(sql, 'globex', `${process.pid}-${info.workerIndex}`)),
  bridge: async ({}, use) => {
    const started: Bridge[] = [];
    await use(async (settings = {}) => {
      const bridge = await Bridge.start(process.env['E2E_DATABASE']!, settings);
      started.push(bridge);
      return bridge;
    });
    for (const bridge of started) await bridge.stop('SIGKILL');
  },
  proxyOf: async ({ url }, use) => {
    const started: Proxy[] = [];
    await use(async (target = url) => {
      const proxy = await Proxy.start(target);
      started.push(proxy);
      return proxy;
    });
    for (const proxy of started) await proxy.stop();
  },
  open: async ({ browser, url }, use) => {
    const contexts: { close(): Promise<void> }[] = [];
    await use(async (path, rights, { at = url, ...more } = {}) => {
      const context = await browser.newContext(more);
      contexts.push(context);
      const answer = await fetch(`${url}/v1/tickets`, { method: 'POST', headers: { authorization: `Bearer ${token(rights)}` } });
      if (!answer.ok) throw new Error(`no ticket: ${answer.status} ${await answer.text()}`);
      const { ticket } = (await answer.json()) as { ticket: string };
      const page = await context.newPage();
      await page.goto(`${at}${path}${path.includes('?') ? '&' : '?'}ticket=${ticket}`);
      return page;
    });
    for (const context of contexts) await context.close();
  },
  ask: async ({ url }, use) =>
    use(async (rights, method, path, body) => {
      const response = await fetch(url + path, {
        method,
        headers: { authorization: `Bearer ${token(rights)}`, accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      });
      const text = await response.text();
      if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
      return text ? JSON.parse(text) : null;
    }),
  accessible: async ({}, use) => {
    const source = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
    await use(async (page) => {
      // By the debugger's way in: the page's own policy forbids scripts from elsewhere, as it should.
      await page.evaluate(source);
      const found = await page.evaluate(async () => {
        const axe = (globalThis as unknown as { axe: { run(options: unknown): Promise<{ violations: { id: string; help: string; nodes: { target: unknown[]; failureSummary?: string }[] }[] }> } }).axe;
        const { violations } = await axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] });
        return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => `${node.target.join(' ')} ${node.failureSummary ?? ''}`).join('; ')}`);
      });
      expect(found).toEqual([]);
    });
  },
});
