import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from '@playwright/test';
import { expect, test as base } from './support/test';

const ann = (acme: string) => ({ sub: 'ann', tenants: [acme] });

/** A bridge that takes files. */
const test = base.extend<{ at: string }>({
  at: async ({ bridge }, use) => {
    const directory = mkdtempSync(join(tmpdir(), 'tidings-uploads-'));
    await use((await bridge({ TIDINGS__UPLOADS__DIRECTORY: directory })).url);
    rmSync(directory, { recursive: true, force: true });
  },
});

async function drop(page: Page, ...names: string[]): Promise<void> {
  const transfer = await page.evaluateHandle((all) => {
    const data = new DataTransfer();
    for (const name of all) data.items.add(new File([`content of ${name}`], name, { type: 'application/pdf' }));
    return data;
  }, names);
  const main = page.getByRole('main');
  // A page that has only just been drawn does not listen yet.
  await expect(async () => {
    await main.dispatchEvent('dragenter', { dataTransfer: transfer });
    await expect(page.getByText('Drop to upload')).toBeVisible({ timeout: 500 });
  }).toPass();
  await main.dispatchEvent('drop', { dataTransfer: transfer });
}

const documents = (page: Page) => page.getByRole('list', { name: 'Documents' }).getByRole('listitem');
const kept = (page: Page) => page.evaluate(() => JSON.parse(localStorage.getItem('document-uploads') ?? '[]') as { fileName: string; status: string; error?: string }[]);

test('a dropped file is uploaded, and its way to the end is seen stage by stage without a reload', async ({ acme, open, sql, at }) => {
  const page = await open('/notifications', ann(acme), { at });
  const indicator = page.getByRole('button', { name: /^Documents/ });
  await expect(page.getByText('No documents yet')).toBeVisible();
  await expect(indicator).toHaveCount(0);
  await drop(page, 'Plan.pdf');
  await expect(indicator).toHaveAccessibleName('Documents, 1 in progress');
  await expect(documents(page)).toHaveCount(1);
  await indicator.click();
  const popover = page.getByRole('dialog', { name: 'Document Processing' });
  await expect(popover).toContainText('Processing...');

  const [{ id, url }] = (await sql('select id, url from documents where tenant_id = $1', [acme])) as [{ id: string; url: string }];
  expect(url).toMatch(/^upload:/);
  await sql(`select tidings_app.set_document_status($1, $2, 'processing', 35, 'ocr', null)`, [acme, id]);
  await expect(documents(page)).toContainText('Processing · Reading · 35%');
  await expect(documents(page).getByRole('progressbar')).toHaveAttribute('aria-valuenow', '35');
  await expect(popover).toContainText('Processing: Reading (35%)');
  await sql(`select tidings_app.set_document_status($1, $2, 'processed', null, null, null)`, [acme, id]);
  await expect(documents(page)).toContainText('Processed');
  await expect(popover).toContainText('Processing complete');
  await expect(page.getByRole('main').getByRole('article').first()).toContainText('Plan.pdf has been processed.');
  await expect(indicator).toHaveAccessibleName('Documents');
  await popover.getByRole('button', { name: 'Clear completed/failed' }).click();
  await expect(indicator).toHaveCount(0);
});

test('uploads outlive navigation and reload, and end as the server says', async ({ acme, open, sql, at }) => {
  const page = await open('/notifications', ann(acme), { at });
  await drop(page, 'One.pdf', 'Two.pdf');
  await expect(documents(page)).toHaveCount(2);
  await page.goto(`${at}/livez`);
  const ids = (await sql('select id, name from documents where tenant_id = $1 order by name', [acme])) as { id: string }[];
  await sql(`select tidings_app.set_document_status($1, $2, 'processed', null, null, null)`, [acme, ids[0]!.id]);
  await page.goto(`${at}/notifications`);
  await page.getByRole('button', { name: 'Documents, 1 in progress' }).click();
  const popover = page.getByRole('dialog', { name: 'Document Processing' });
  await expect(popover.getByRole('listitem').filter({ hasText: 'One.pdf' })).toContainText('Processing complete');
  await expect(popover.getByRole('listitem').filter({ hasText: 'Two.pdf' })).toContainText('Processing...');
  await page.reload();
  await sql(`select tidings_app.set_document_status($1, $2, 'failed', null, null, '{"code":"damaged","message":"Page 3 is damaged"}')`, [acme, ids[1]!.id]);
  await page.getByRole('button', { name: /^Documents/ }).click();
  await expect(popover.getByRole('listitem').filter({ hasText: 'Two.pdf' })).toContainText('Page 3 is damaged');
});

test('what failed to be processed is tried again, in every window', async ({ acme, open, sql, at }) => {
  await sql(`insert into documents (tenant_id, name, url, status, error) values ($1, 'Broken.pdf', 'upload:x', 'failed', '{"code":"damaged","message":"Page 3 is damaged"}')`, [acme]);
  const page = await open('/notifications', ann(acme), { at });
  const there = await open('/notifications', { sub: 'ben', tenants: [acme] }, { at });
  for (const one of [page, there]) await expect(documents(one)).toContainText('Page 3 is damaged');
  await page.getByRole('button', { name: 'Retry Broken.pdf' }).click();
  for (const one of [page, there]) {
    await expect(documents(one)).toContainText('Processing');
    await expect(one.getByRole('button', { name: 'Retry Broken.pdf' })).toHaveCount(0);
  }
  expect(await sql('select status, error from documents where tenant_id = $1', [acme])).toEqual([{ status: 'processing', error: null }]);
});

test('an upload that fails half way says why, and is sent again without choosing the file again', async ({ acme, open, at }) => {
  const page = await open('/notifications', ann(acme), { at });
  await page.route('**/uploads/*', (route) => route.abort('connectionreset'));
  await drop(page, 'Plan.pdf');
  await expect(page.getByRole('region', { name: /Messages/ })).toContainText('Error uploading Plan.pdf');
  const item = page.getByRole('main').getByRole('listitem').filter({ hasText: 'Plan.pdf' });
  await expect(item).toContainText('The connection broke off.');
  await page.unroute('**/uploads/*');
  await item.getByRole('button', { name: 'Retry Plan.pdf' }).click();
  await expect(documents(page)).toContainText('Plan.pdf');
});

test('a reload in the middle of an upload leaves an item that says so, and takes the file again', async ({ acme, open, at }) => {
  const page = await open('/notifications', ann(acme), { at });
  // A network that stands still.
  await page.route('**/uploads/*', () => undefined);
  await drop(page, 'Plan.pdf');
  await expect(page.getByText('Uploading (0%)').first()).toBeVisible();
  await page.reload();
  await page.unroute('**/uploads/*');
  const item = page.getByRole('main').getByRole('listitem').filter({ hasText: 'Plan.pdf' });
  await expect(item).toContainText('The upload was interrupted. Choose the file again.');
  expect(await kept(page)).toMatchObject([{ fileName: 'Plan.pdf', status: 'failed' }]);
  const chosen = page.waitForEvent('filechooser');
  await item.getByRole('button', { name: 'Choose Plan.pdf again' }).click();
  await (await chosen).setFiles({ name: 'Plan.pdf', mimeType: 'application/pdf', buffer: Buffer.from('again') });
  await expect(documents(page)).toContainText('Plan.pdf');
  await expect.poll(() => kept(page)).toMatchObject([{ fileName: 'Plan.pdf', status: 'processing' }]);
});

test('another user of the same browser does not see whose uploads were there before', async ({ acme, open, at, url }) => {
  const page = await open('/notifications', ann(acme), { at });
  await drop(page, 'Private plan.pdf');
  await expect(page.getByRole('button', { name: /^Documents, 1/ })).toBeVisible();
  await expect.poll(() => kept(page)).toMatchObject([{ status: 'processing' }]);
  await page.context().clearCookies();
  const { token } = await import('./support/test');
  const answer = await fetch(`${url}/v1/tickets`, { method: 'POST', headers: { authorization: `Bearer ${token({ sub: 'ben', tenants: [acme] })}` } });
  const { ticket } = (await answer.json()) as { ticket: string };
  await page.goto(`${at}/notifications?ticket=${ticket}`);
  await expect(documents(page)).toContainText('Private plan.pdf'); // The tenant's document is for all of it,
  await expect(page.getByRole('button', { name: /^Documents,/ })).toHaveCount(0); // whose upload it is, is not.
});

test('a page of another tab shows the same uploads as they go on', async ({ acme, open, sql, at }) => {
  const page = await open('/notifications', ann(acme), { at });
  const other = await page.context().newPage();
  await other.goto(`${at}/notifications`);
  await drop(page, 'Plan.pdf');
  await expect(other.getByRole('button', { name: 'Documents, 1 in progress' })).toBeVisible();
  // At once, so that it may be done before the page has the answer to its creation.
  await expect.poll(() => sql(`select tidings_app.set_document_status($1, id, 'processed', null, null, null) from documents where tenant_id = $1`, [acme])).toHaveLength(1);
  await expect(other.getByRole('button', { name: 'Documents', exact: true })).toBeVisible();
});

test('a long list of uploads scrolls within the window', async ({ acme, open, at }) => {
  const page = await open('/notifications', ann(acme), { at, viewport: { width: 1440, height: 700 } });
  await page.evaluate((tenantId) => {
    const now = Date.now();
    const item = (number: number) => ({ id: `upload_${number}`, fileName: `${number}.pdf`, status: 'complete', progress: 100, tenantId, startTime: now, lastUpdated: now });
    localStorage.setItem('document-uploads', JSON.stringify(Array.from({ length: 40 }, (_, number) => item(number))));
  }, acme);
  await page.reload();
  await page.getByRole('button', { name: 'Documents', exact: true }).click();
  const popover = page.getByRole('dialog', { name: 'Document Processing' });
  await expect(popover.getByRole('listitem')).toHaveCount(40);
  const { y, height } = (await popover.boundingBox())!;
  expect(y + height).toBeLessThanOrEqual(700);
  await popover.getByText('0.pdf', { exact: true }).scrollIntoViewIfNeeded();
  await expect(popover.getByText('0.pdf', { exact: true })).toBeInViewport();
});
