import type { Page } from '@playwright/test';
import { expect, test } from './support/test';

const ann = (acme: string) => ({ sub: 'ann', tenants: [acme] });
const rows = (page: Page) => page.getByRole('main').getByRole('article');
const titles = (page: Page) => rows(page).locator('.t-row-title').allTextContents();
/** The count that a tab shows. */
const tab = (page: Page, name: string) => page.getByRole('main').getByRole('tab', { name: new RegExp(`^${name}`) });

type Sql = (text: string, values?: unknown[]) => Promise<unknown>;
async function notify(sql: Sql, tenant: string, from: number, to = from): Promise<void> {
  // One transaction each, so that each is an event of its own; older ones first.
  for (let i = from; i <= to; i++) await sql(`insert into notifications (tenant_id, type, title, message) values ($1, 'notice', 'Notice ' || $2::text, 'Its text')`, [tenant, i]);
}
const numbers = (from: number, to: number) => Array.from({ length: from - to + 1 }, (_, index) => `Notice ${from - index}`);

test('what is committed appears on top, is counted, and calls for attention in the title', async ({ acme, open, sql }) => {
  await notify(sql, acme, 1, 2);
  const page = await open('/notifications', ann(acme));
  await expect(rows(page)).toHaveCount(2);
  await notify(sql, acme, 3);
  await expect(rows(page).first()).toContainText('Notice 3');
  await expect(tab(page, 'Unread')).toHaveText('Unread3');
  await expect(page.getByRole('region', { name: /Messages/ })).toContainText('Notice 3');
  // Seen by being looked at, and still unread.
  await expect(page.getByRole('button', { name: 'Notifications', exact: true })).toBeVisible();
  await expect(page).toHaveTitle(`Notifications · ${acme}`);
  await expect(tab(page, 'Unread')).toHaveText('Unread3');
});

test('a tab in the background is told of in its title, until somebody looks', async ({ acme, open, sql }) => {
  const page = await open('/notifications', ann(acme));
  await expect(page.getByText('Nothing here yet')).toBeVisible();
  const visibility = (state: string) =>
    page.evaluate((now) => {
      Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => now });
      document.dispatchEvent(new Event('visibilitychange'));
    }, state);
  await visibility('hidden');
  await notify(sql, acme, 1, 2);
  await expect(page).toHaveTitle(`(2) Notifications · ${acme}`);
  await expect(page.getByRole('button', { name: 'Notifications, 2 new' })).toBeVisible();
  await visibility('visible');
  await expect(page).toHaveTitle(`Notifications · ${acme}`);
});

test('reading, archiving and undoing are the same in two windows, and another user\'s own', async ({ acme, open, sql }) => {
  await notify(sql, acme, 1, 4);
  const here = await open('/notifications', ann(acme));
  const there = await open('/notifications', ann(acme));
  const ben = await open('/notifications', { sub: 'ben', tenants: [acme] });
  for (const page of [here, there, ben]) await expect(tab(page, 'Unread')).toHaveText('Unread4');

  await rows(here).filter({ hasText: 'Notice 4' }).click();
  for (const page of [here, there]) await expect(tab(page, 'Unread')).toHaveText('Unread3');

  const second = rows(here).filter({ hasText: 'Notice 3' });
  await second.hover();
  await second.getByRole('button', { name: 'Archive: Notice 3' }).click();
  for (const page of [here, there]) {
    await expect(rows(page)).toHaveCount(3);
    await expect(tab(page, 'Archived')).toHaveText('Archived1');
  }
  await here.getByRole('button', { name: 'Undo' }).click();
  for (const page of [here, there]) {
    await expect.poll(() => titles(page)).toEqual(numbers(4, 1));
    // Unread, as it was before it was archived.
    await expect(tab(page, 'Unread')).toHaveText('Unread3');
    await expect(tab(page, 'Archived')).toHaveText('Archived0');
  }
  await there.getByRole('button', { name: 'Mark all as read' }).click();
  for (const page of [here, there]) await expect(tab(page, 'Unread')).toHaveText('Unread0');
  await expect(tab(ben, 'Unread')).toHaveText('Unread4');
});

test('of two windows that are looked at, one shows the toast', async ({ acme, open, sql }) => {
  const here = await open('/notifications', ann(acme));
  await expect(here.getByText('Nothing here yet')).toBeVisible();
  const there = await here.context().newPage();
  await there.goto(here.url());
  await expect(there.getByText('Nothing here yet')).toBeVisible();
  await notify(sql, acme, 1);
  for (const page of [here, there]) await expect(rows(page)).toHaveCount(1);
  const shown = async () => (await Promise.all([here, there].map((page) => page.locator('.t-toast').count()))).reduce((sum, count) => sum + count);
  // Seen, which takes longer than a toast takes to come, and less than it stays.
  for (const page of [here, there]) await expect(page.getByRole('button', { name: 'Notifications', exact: true })).toBeVisible();
  expect(await shown()).toBe(1);
});

test('however long the list is, Tab leads through one notification of it, and on to the documents', async ({ acme, open, sql }) => {
  const documents = await sql(`insert into public.documents (tenant_id, uploaded_by, name) select $1, 'ann', 'Plan ' || n from generate_series(1, 3) n returning id`, [acme]);
  await sql(
    `insert into public.notifications (tenant_id, type, title, message, metadata)
     select $1, 'document_uploaded', 'About one', 'It came.', jsonb_build_object('documentId', id) from unnest($2::text[]) id`,
    [acme, documents.map(({ id }) => id)],
  );
  const page = await open('/notifications', { sub: 'ben', tenants: [acme] });
  await expect(page.getByRole('link', { name: 'Show the document' })).toHaveCount(3);
  await page.keyboard.press('j');
  const stops: string[] = [];
  for (let stop = 0; stop < 4; stop++) {
    await page.keyboard.press('Tab');
    stops.push(await page.evaluate(() => (document.activeElement!.getAttribute('aria-label') ?? document.activeElement!.textContent!).trim()));
  }
  expect(stops).toEqual(['Show the document', 'Mark as read: About one', 'Archive: About one', 'Choose files']);
});

test('all is done with the keyboard alone, and the focus moves on to the next one', async ({ acme, open, sql }) => {
  await notify(sql, acme, 1, 5);
  const page = await open('/notifications', ann(acme));
  await expect(rows(page)).toHaveCount(5);
  await page.keyboard.press('j');
  await expect(rows(page).nth(0)).toBeFocused();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await expect(tab(page, 'Unread')).toHaveText('Unread4');
  await page.keyboard.press('e');
  await expect(rows(page).filter({ hasText: 'Notice 3' })).toBeFocused();
  await expect.poll(() => titles(page)).toEqual(['Notice 5', 'Notice 3', 'Notice 2', 'Notice 1']);
  await page.keyboard.press('u');
  await expect.poll(() => titles(page)).toEqual(numbers(5, 1));
  await expect(tab(page, 'Unread')).toHaveText('Unread4');
  // The bell: Escape closes it and gives the focus back.
  const bell = page.getByRole('button', { name: /^Notifications/ });
  await bell.focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('dialog', { name: 'Notifications' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toHaveCount(0);
  await expect(bell).toBeFocused();
});

test('older ones come by scrolling, and what arrives meanwhile waits behind a number', async ({ acme, open, sql }) => {
  await sql(`insert into notifications (tenant_id, type, title, message, created_at)
    select $1, 'notice', 'Notice ' || i, 'Its text', now() - (60 - i) * interval '1 minute' from generate_series(1, 60) i`, [acme]);
  const page = await open('/notifications', ann(acme));
  await expect(rows(page).first()).toContainText('Notice 60');
  await expect(async () => {
    await page.mouse.move(300, 500);
    await page.mouse.wheel(0, 4000);
    await expect(rows(page)).toHaveCount(60, { timeout: 500 });
  }).toPass();
  expect(await titles(page)).toEqual(numbers(60, 1));
  const anchor = rows(page).filter({ hasText: /^Notice 5Its|Notice 5\b/ }).first();
  await anchor.scrollIntoViewIfNeeded();
  const before = await anchor.boundingBox();
  await notify(sql, acme, 61, 63);
  const pill = page.getByRole('button', { name: 'Show 3 new notifications' });
  await expect(pill).toBeVisible();
  await expect(tab(page, 'All')).toHaveText('All63');
  expect((await anchor.boundingBox())?.y).toBe(before?.y);
  await expect(rows(page)).toHaveCount(60);
  await pill.click();
  await expect(rows(page).first()).toContainText('Notice 63');
  await expect(rows(page).first()).toBeFocused();
  await expect(pill).toHaveCount(0);
});

test('what happened in half a minute offline is there afterwards, once each and in order', async ({ acme, open, sql }) => {
  test.setTimeout(120_000);
  await notify(sql, acme, 1);
  const page = await open('/notifications', ann(acme));
  await expect(rows(page)).toHaveCount(1);
  await expect(page.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
  await page.context().setOffline(true);
  await expect(page.getByText(/Offline: showing what was known/)).toBeVisible();
  for (let i = 2; i <= 61; i++) {
    await notify(sql, acme, i);
    // They come over half a minute, as they would.
    await sql('select pg_sleep(0.5)');
  }
  await page.screenshot({ path: test.info().outputPath('offline.png') });
  // Not one of them came by itself: the page was really away.
  expect(await titles(page)).toEqual(['Notice 1']);
  await page.context().setOffline(false);
  await expect.poll(() => titles(page), { timeout: 40_000 }).toEqual(numbers(61, 1));
  await expect(tab(page, 'All')).toHaveText('All61');
  await expect(page.getByText(/caught up: 60 events/).first()).toBeVisible();
  // What comes after them comes once, too.
  await notify(sql, acme, 62);
  await expect.poll(() => titles(page)).toEqual(numbers(62, 1));
});

test('a change that the server refuses is taken back, and said so', async ({ acme, open, sql }) => {
  await notify(sql, acme, 1, 2);
  const page = await open('/notifications', ann(acme));
  await page.route('**/notifications/*', (route) => (route.request().method() === 'PATCH' ? route.fulfill({ status: 503, contentType: 'application/problem+json', body: '{"code":"database_unavailable","detail":"later","status":503}' }) : route.continue()));
  await expect(rows(page)).toHaveCount(2);
  await page.keyboard.press('j');
  await expect(rows(page).first()).toBeFocused();
  await page.keyboard.press('e');
  await expect(page.getByText('It could not be saved, and was taken back.').last()).toBeVisible();
  await expect.poll(() => titles(page)).toEqual(numbers(2, 1));
  await expect(tab(page, 'Archived')).toHaveText('Archived0');
});

test('each tab says what it is when it is empty, and a failure can be tried again', async ({ acme, open }) => {
  const page = await open('/notifications?tab=archived', ann(acme));
  await expect(page.getByText('The archive is empty')).toBeVisible();
  await tab(page, 'Documents').click();
  await expect(page.getByText('Nothing about documents')).toBeVisible();
  await expect(page).toHaveURL(/tab=documents/);
  await page.route('**/notifications?*', (route) => route.fulfill({ status: 500, contentType: 'application/problem+json', body: '{"code":"internal","detail":"it broke","status":500}' }));
  await tab(page, 'Unread').click();
  await expect(page.getByText('The notifications could not be loaded.')).toBeVisible();
  await page.unroute('**/notifications?*');
  await page.getByRole('button', { name: 'Try again' }).click();
  await expect(page.getByText('All read')).toBeVisible();
});

test('a page shows its own tenant and nothing of another, whatever the address says', async ({ acme, globex, open, sql }) => {
  await sql(`insert into notifications (tenant_id, type, title, message) values ($1, 'notice', 'Secret of globex', 'x')`, [globex]);
  await sql(`insert into documents (tenant_id, name) values ($1, 'Secret.pdf')`, [globex]);
  const page = await open(`/notifications?tenant=${globex}`, ann(acme));
  await expect(page.getByText('Nothing here yet')).toBeVisible();
  await sql(`insert into notifications (tenant_id, type, title, message) values ($1, 'notice', 'Another secret', 'x')`, [globex]);
  await notify(sql, acme, 1);
  await expect(rows(page)).toHaveCount(1);
  expect(await page.content()).not.toContain('ecret');
});

test('an admin of two tenants chooses which one to look at', async ({ acme, globex, open, sql }) => {
  await notify(sql, acme, 1);
  await notify(sql, globex, 7);
  const page = await open(`/notifications?tenant=${globex}`, { sub: 'ada', tenants: [acme, globex], role: 'admin' });
  await expect.poll(() => titles(page)).toEqual(['Notice 7']);
  await page.getByRole('combobox', { name: 'Tenant' }).selectOption(acme);
  await expect.poll(() => titles(page)).toEqual(['Notice 1']);
  await notify(sql, globex, 8);
  await notify(sql, acme, 2);
  await expect.poll(() => titles(page)).toEqual(['Notice 2', 'Notice 1']);
});

test('what rows say is shown as text and never becomes part of the page', async ({ acme, open, sql }) => {
  const hostile = '<img src=x onerror="document.title=1"><script>document.title=2</script>';
  await sql(`insert into notifications (tenant_id, type, title, message, metadata) values ($1, 'document_processed', $2, $2, '{"documentId":"\\"><b>"}')`, [acme, hostile]);
  await sql(`insert into documents (tenant_id, name, status, error) values ($1, $2, 'failed', jsonb_build_object('code', 'x', 'message', $2::text))`, [acme, hostile]);
  const page = await open('/notifications', ann(acme));
  await expect(rows(page).first()).toContainText('<img src=x');
  await expect(page.getByRole('main').locator('img, script')).toHaveCount(0);
});

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [390, 1440]) {
    test(`axe finds nothing: ${colorScheme}, ${width} px`, async ({ acme, open, sql, accessible }) => {
      await notify(sql, acme, 1, 3);
      await sql(`insert into documents (tenant_id, name, status, progress, stage) values ($1, 'Plan.pdf', 'processing', 40, 'ocr')`, [acme]);
      await sql(`insert into documents (tenant_id, name, status, error) values ($1, 'Broken.pdf', 'failed', '{"code":"x","message":"Page 3 is damaged"}')`, [acme]);
      const page = await open('/notifications', ann(acme), { colorScheme, viewport: { width, height: 844 } });
      await expect(rows(page)).toHaveCount(3);
      await accessible(page);
      await page.getByRole('button', { name: /^Notifications/ }).click();
      await expect(page.getByRole('dialog').getByRole('article')).toHaveCount(3);
      await accessible(page);
      await page.keyboard.press('Escape');
      await tab(page, 'Archived').click();
      await expect(page.getByText('The archive is empty')).toBeVisible();
      await accessible(page);
    });
  }
}
