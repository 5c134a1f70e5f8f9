import type { Page } from '@playwright/test';
import { expect, test, token, type Rights } from './support/test';

const column = (page: Page, tenant: string) => page.getByRole('region', { name: new RegExp(`^Events of ${tenant}, `) });
const live = (page: Page, tenant: string) => expect(column(page, tenant).locator('[data-state="connected"], [data-state="polling"]')).toBeVisible();
const rows = (page: Page, tenant: string) => column(page, tenant).locator('.event');
const ada = (...tenants: string[]): Rights => ({ sub: 'ada', role: 'admin', tenants });
const hash = (left: string, right: string) => `#${new URLSearchParams({ left, right }).toString()}`;

test('two tenants stand side by side, and neither shows what is the other’s', async ({ acme, globex, open, sql }) => {
  const page = await open('/', ada(acme, globex));
  await live(page, acme);
  await live(page, globex);
  await sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', 'Only acme.pdf'), ($2, 'ann', 'Only globex.pdf')`, [acme, globex]);
  for (const [mine, name] of [[acme, 'Only acme.pdf'], [globex, 'Only globex.pdf']] as const) {
    await rows(page, mine).locator('summary').first().click();
    await expect(column(page, mine).locator('.raw')).toContainText(name);
    await expect(column(page, mine).locator('[data-figure="foreign"]')).toHaveText('0');
  }
  await expect(column(page, acme)).not.toContainText('Only globex.pdf');
  await expect(column(page, globex)).not.toContainText('Only acme.pdf');
});

test('an inserted row comes back as an event, marked as one’s own', async ({ acme, open }) => {
  const page = await open('/', { sub: 'ann', tenants: [acme] });
  const left = column(page, acme).first();
  await expect(left.locator('[data-state="connected"]')).toBeVisible();
  await left.getByLabel('Name of the new document').fill('Plan.pdf');
  await left.getByRole('button', { name: 'Insert a row' }).click();
  await expect(left.locator('.event[data-yours]').filter({ hasText: 'documents.inserted' })).toBeVisible();
  await expect(left.locator('.note')).toContainText(/Inserted .*: 201 after \d+ ms, its event here \d+ ms/);
});

test('an event unfolds to its bytes and to the SQL behind it, and what a row holds stays text', async ({ acme, open, sql }) => {
  const page = await open('/', { sub: 'ann', tenants: [acme] });
  const [sse, socket] = [column(page, acme).first(), column(page, acme).last()];
  for (const side of [sse, socket]) await expect(side.locator('[data-state="connected"]')).toBeVisible();
  const name = '<img src=x onerror="document.title=1">';
  await sql(`insert into public.documents (tenant_id, uploaded_by, name, size) values ($1, 'ann', $2, 1234)`, [acme, name]);
  for (const side of [sse, socket]) await side.locator('.event summary').first().click();
  await expect(sse.locator('.raw pre').first()).toHaveText(/^id: \S+\ndata: \{"specversion":"1\.0",.*onerror/);
  await expect(socket.locator('.raw pre').first()).toHaveText(/^\{"type":"event","event":\{"specversion":"1\.0",.*\}\}$/);
  await expect(sse.locator('.raw')).toContainText('insert into public.documents (');
  await expect(sse.locator('.raw')).toContainText("select tidings.watch('public.documents', tenant => 'tenant_id');");
  expect(await page.locator('img').count()).toBe(0);
  expect(await page.title()).toBe('tidings');
});

for (const transport of ['SSE', 'WebSocket', 'Long poll']) {
  test(`away for a while, over ${transport}: nothing is missed`, async ({ acme, globex, open, sql }) => {
    const page = await open('/', ada(acme, globex));
    const left = column(page, acme);
    await live(page, acme);
    await left.getByText(transport, { exact: true }).click();
    await live(page, acme);
    await sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', 'before')`, [acme]);
    await expect(rows(page, acme).first()).toBeVisible();
    await left.getByRole('button', { name: 'Disconnect 5 s' }).click();
    await expect(left.locator('[data-state="away"]')).toBeVisible();
    await sql(`insert into public.documents (tenant_id, uploaded_by, name) select $1, 'ann', 'doc ' || n from generate_series(1, 25) n`, [acme]);
    await left.getByRole('button', { name: 'Come back now' }).click();
    await expect(left.locator('.note')).toContainText('Back: 25 of 25 events committed meanwhile came, 0 missed.');
    await expect(left.locator('[data-figure="missed"]')).toHaveText('0');
    await expect(left.locator('.event[data-late]')).toHaveCount(25);
  });
}

test('a bridge that restarts is come back to, and nothing is missed', async ({ acme, globex, bridge, open, sql }) => {
  const own = await bridge();
  const page = await open('/', ada(acme, globex), { at: own.url });
  await live(page, acme);
  await live(page, globex);
  await own.stop();
  await sql(`insert into public.documents (tenant_id, uploaded_by, name) select tenant, 'ann', 'meanwhile' from unnest($1::text[]) tenant`, [[acme, globex]]);
  await own.restart();
  await expect(rows(page, acme)).toHaveCount(1, { timeout: 30_000 });
  await expect(rows(page, globex)).toHaveCount(1, { timeout: 30_000 });
});

test('what is live only is shown too, and told apart', async ({ acme, open, ask }) => {
  const page = await open('/', ada(acme));
  await expect(column(page, acme).first().locator('[data-state="connected"]')).toBeVisible();
  const session = (await ask({ sub: 'ann', tenants: [acme] }, 'POST', `/v1/tenants/${acme}/chat/sessions`, { subject: 'Hello' })) as { id: string };
  await ask({ sub: 'ann', tenants: [acme] }, 'POST', `/v1/tenants/${acme}/chat/sessions/${session.id}/messages`, { content: 'Is anybody there?' });
  await expect(column(page, acme).first().locator('.event', { hasText: 'chat.delta' }).first()).toContainText('live only');
});

test('the tenants and the theme survive a reload', async ({ acme, globex, open }) => {
  const page = await open('/', ada(acme, globex));
  await live(page, acme);
  await column(page, acme).getByLabel('Tenant').selectOption(globex);
  await expect(column(page, acme)).toHaveCount(0);
  await page.getByRole('button', { name: 'Switch to the dark theme' }).click();
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const dark = await paper();
  await page.reload();
  await expect(column(page, globex)).toHaveCount(2);
  expect(page.url()).toContain(hash(globex, globex));
  expect(await paper()).toBe(dark);
  await page.getByRole('button', { name: 'Switch to the light theme' }).click();
  expect(await paper()).not.toBe(dark);
});

test('motion is left out where it is not wanted', async ({ acme, open }) => {
  const page = await open('/', { sub: 'ann', tenants: [acme] }, { reducedMotion: 'reduce' });
  await expect(column(page, acme).first()).toBeVisible();
  const durations = await page.evaluate(() => [...document.querySelectorAll('*')].flatMap((element) => {
    const { animationDuration, transitionDuration } = getComputedStyle(element);
    return [animationDuration, transitionDuration].flatMap((list) => list.split(',')).map((one) => parseFloat(one) * (one.includes('ms') ? 1 : 1_000));
  }));
  expect(Math.max(...durations)).toBeLessThanOrEqual(1);
});

test('an admin sees the connections, and may end one, which comes back', async ({ acme, globex, open }) => {
  const page = await open('/', ada(acme, globex));
  await live(page, acme);
  await live(page, globex);
  const table = page.getByRole('region', { name: 'The server' }).getByRole('row');
  await expect(table.filter({ hasText: acme })).toHaveCount(1);
  const before = await table.filter({ hasText: acme }).getByRole('cell').first().textContent();
  await table.filter({ hasText: acme }).getByRole('button', { name: /^End/ }).click();
  await expect(page.getByRole('region', { name: /^Messages/ })).toContainText('Ended.');
  await expect(table.filter({ hasText: acme }).filter({ hasNotText: before! })).toHaveCount(1, { timeout: 30_000 });
  await live(page, acme);
});

test('a member neither publishes nor sees the connections', async ({ acme, open }) => {
  const page = await open('/', { sub: 'ann', tenants: [acme] });
  await expect(column(page, acme).first().getByRole('button', { name: 'Publish' })).toBeDisabled();
  await expect(page.getByRole('region', { name: 'The server' })).toHaveCount(0);
  await expect(page.getByRole('navigation').getByRole('link')).toHaveText(['Live', 'Notifications']);
});

test('the curl line with a ticket opens the stream once', async ({ acme, globex, open }) => {
  const page = await open('/', ada(acme, globex));
  await live(page, acme);
  await page.getByRole('button', { name: 'Copy with a ticket' }).click();
  const line = page.locator('pre', { hasText: '?ticket=' });
  await expect(line).toBeVisible();
  const address = /'(http[^']+)'/.exec((await line.textContent())!)![1]!;
  const stream = await fetch(address, { headers: { accept: 'text/event-stream' } });
  expect(stream.status).toBe(200);
  await stream.body!.cancel();
  expect((await fetch(address, { headers: { accept: 'text/event-stream' } })).status).toBe(401);
});

test('an admin of all tenants may type the name of one', async ({ acme, open, sql }) => {
  const page = await open('/', { sub: 'root', role: 'admin' });
  const field = page.getByRole('combobox', { name: 'Tenant' }).first();
  await field.fill(acme);
  await field.press('Enter');
  await live(page, acme);
  await sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', 'Plan.pdf')`, [acme]);
  await expect(rows(page, acme).first()).toBeVisible();
});

test('the keyboard reaches the content first, and the bytes of an event', async ({ acme, open, sql }) => {
  const page = await open('/', { sub: 'ann', tenants: [acme] });
  await expect(column(page, acme).first().locator('[data-state="connected"]')).toBeVisible();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to the content' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.locator('#main')).toBeFocused();
  await sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', 'Plan.pdf')`, [acme]);
  const row = column(page, acme).first().locator('.event summary').first();
  await expect(row).toBeVisible();
  await row.focus();
  await page.keyboard.press('Enter');
  await expect(column(page, acme).first().locator('.raw')).toBeVisible();
});

test.describe('the sign-in', () => {
  test('is explained where nobody is signed in', async ({ url, page }) => {
    await page.goto(url);
    await expect(page.getByRole('heading', { name: 'Nobody is signed in on this browser' })).toBeVisible();
    await expect(page.getByText('tidings demo')).toBeVisible();
  });

  test('happens by a ticket that is pasted', async ({ acme, url, page, ask }) => {
    const { ticket } = (await ask({ sub: 'ann', tenants: [acme] }, 'POST', '/v1/tickets', {})) as { ticket: string };
    await page.goto(`${url}/`);
    await page.getByLabel('Ticket').fill(ticket);
    await page.getByRole('button', { name: 'Open' }).click();
    await expect(page.getByRole('button', { name: 'Account of ann' })).toBeVisible();
    expect(page.url()).not.toContain('ticket');
  });

  test('with a spent ticket says so', async ({ acme, url, browser, ask }) => {
    const { ticket } = (await ask({ sub: 'ann', tenants: [acme] }, 'POST', '/v1/tickets', {})) as { ticket: string };
    const [first, second] = [await browser.newContext(), await browser.newContext()];
    await (await first.newPage()).goto(`${url}/?ticket=${ticket}`);
    const page = await second.newPage();
    await page.goto(`${url}/?ticket=${ticket}`);
    await expect(page.getByRole('heading', { name: 'This link was used already' })).toBeVisible();
    await first.close();
    await second.close();
  });

  test('ends when the person signs out, in every window of the browser', async ({ acme, open }) => {
    const page = await open('/', { sub: 'ann', tenants: [acme] });
    const other = await page.context().newPage();
    await other.goto(page.url());
    await expect(other.getByRole('button', { name: 'Account of ann' })).toBeVisible();
    await page.getByRole('button', { name: 'Account of ann' }).click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await expect(page.getByRole('heading', { name: 'You are signed out' })).toBeVisible();
    await expect(other.getByRole('heading', { name: 'The sign-in has ended' })).toBeVisible();
    expect(await page.context().cookies()).toEqual([]);
  });

  test('ends when it runs out, and comes back with a new one', async ({ acme, url, open }) => {
    const page = await open('/', { sub: 'ann', tenants: [acme], expiresIn: 6 });
    await expect(page.getByRole('button', { name: 'Account of ann' })).toBeVisible();
    await expect(page.getByRole('heading', { name: 'The sign-in has ended' })).toBeVisible();
    await page.context().addCookies([{ name: 'tidings', value: token({ sub: 'ann', tenants: [acme] }), url, httpOnly: true }]);
    await page.getByRole('button', { name: 'Check again' }).click();
    await expect(column(page, acme).first().locator('[data-state="connected"]')).toBeVisible();
  });

  test('waits for a server that does not answer', async ({ acme, url, open, proxyOf }) => {
    const proxy = await proxyOf(url);
    const page = await open('/', { sub: 'ann', tenants: [acme] }, { at: proxy.url });
    await expect(page.getByRole('button', { name: 'Account of ann' })).toBeVisible();
    await page.route('**/v1/session', (route) => route.abort());
    await page.reload();
    await expect(page.getByRole('heading', { name: 'The server does not answer' })).toBeVisible();
    await page.unroute('**/v1/session');
    await expect(page.getByRole('button', { name: 'Account of ann' })).toBeVisible();
  });
});
