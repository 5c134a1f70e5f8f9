/** The pages where the binary does not serve them: the development server, and a web server of one's own. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { end, until } from './support/postgres';
import { test } from './support/site';
import { expect, token } from './support/test';

const web = fileURLToPath(new URL('../', import.meta.url));
const notify = `insert into public.notifications (tenant_id, type, title, message) values ($1, 'report_ready', 'Weekly report', 'It is there.')`;

test('the development server shows the pages against any server, signing in included', async ({ acme, open, sql, url }) => {
  const listen = `127.0.0.1:${20_000 + (process.pid % 20_000)}`;
  const server = spawn(process.execPath, [`${web}serve.mjs`, '--server', url, '--listen', listen], { cwd: web, stdio: 'ignore' });
  try {
    await until('the development server answers', () => fetch(`http://${listen}/notifications`).then((answer) => answer.ok, () => false));
    const page = await open('/notifications', { sub: 'ann', tenants: [acme] }, { at: `http://${listen}` });
    await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
    await sql(notify, [acme]);
    await expect(page.getByText('Weekly report').first()).toBeVisible();
  } finally {
    await end(server);
  }
});

test('a web server of another origin shows a page, with tokens of its own backend', async ({ acme, sql, bridge, site, browser }) => {
  const answers: Record<string, string> = {};
  const origin = await site(answers);
  const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([origin]) });
  answers['/'] = `<!doctype html><html lang="en"><title>Ours</title><link rel="stylesheet" href="${url}/assets/notifications.css">
    <script>globalThis.tidings = { url: '${url}', tenant: '${acme}', getToken: async () => (await fetch('/token')).text() };</script>
    <script type="module" src="${url}/assets/notifications.js"></script><body class="t-root"><div id="root"></div></body></html>`;
  answers['/token'] = token({ sub: 'ann', tenants: [acme] });
  const page = await browser.newPage();
  await page.goto(origin);
  await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
  await sql(notify, [acme]);
  await expect(page.getByText('Weekly report').first()).toBeVisible();
  await page.close();
});
