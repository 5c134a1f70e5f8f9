/** What a page would complain about to nobody: errors and warnings of the console, requests that failed, things its policy forbids. */
import type { Page } from '@playwright/test';
import { expect, test, type Rights } from './support/test';

/** All that went wrong on the page since now. */
function complaints(page: Page): string[] {
  const found: string[] = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && found.push(`${message.type()}: ${message.text()}`));
  page.on('pageerror', (error) => found.push(`thrown: ${error.message}`));
  page.on('response', (response) => response.status() >= 400 && found.push(`${response.status()} ${response.request().method()} ${response.url()}`));
  page.on('requestfailed', (request) => found.push(`failed: ${request.method()} ${request.url()} ${request.failure()?.errorText}`));
  return found;
}

const uses: Record<string, (page: Page, change: () => Promise<unknown>) => Promise<void>> = {
  '/': async (page, change) => {
    await expect(page.locator('.stream [data-state="connected"]')).toHaveCount(2);
    await change();
    await page.locator('.event summary').first().click();
    await expect(page.locator('.raw').first()).toBeVisible();
    await page.getByRole('button', { name: 'Insert a row' }).first().click();
    await expect(page.locator('.note').first()).toContainText('its event here');
    await page.getByRole('button', { name: 'Publish' }).last().click();
    await expect(page.locator('.note').last()).toContainText('its event here');
  },
  '/notifications': async (page, change) => {
    await expect(page.locator('[data-state="connected"]')).toBeVisible();
    await change();
    const first = page.locator('.t-notification').first();
    await expect(first).toBeVisible();
    await first.getByRole('button', { name: /^Archive: / }).click();
    await page.getByRole('button', { name: 'Undo' }).click();
    for (const tab of ['Unread', 'Archived', 'Documents', 'All']) await page.getByRole('tab', { name: tab }).click();
    await page.getByLabel('Choose files').and(page.locator('input')).setInputFiles({ name: 'Plan.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF-1.7') });
    await expect(page.locator('.t-documents').getByText('Plan.pdf')).toBeVisible();
    await page.locator('.t-bell').click();
    await expect(page.getByRole('dialog', { name: 'Notifications' })).toBeVisible();
  },
  '/admin/chat': async (page, change) => {
    await expect(page.locator('[data-state="connected"]')).toBeVisible();
    await change();
    await page.locator('.session-open').first().click();
    await page.getByLabel('Your answer').fill('Good morning.');
    await page.getByRole('button', { name: 'Send' }).click();
    await expect(page.locator('.said').filter({ hasText: 'Good morning.' })).toBeVisible();
    await page.getByRole('button', { name: 'End', exact: true }).click();
    await expect(page.locator('.open-title .t-chip')).toHaveText('Ended');
    await page.locator('#chat-search').fill('plan');
    await page.getByRole('button', { name: 'Keys' }).click();
    await page.keyboard.press('Escape');
  },
};

for (const [path, use] of Object.entries(uses)) {
  test(`${path} says nothing to the console, and nothing it asks for fails`, async ({ acme, globex, bridge, open, sql }, info) => {
    const { url } = await bridge({ TIDINGS__UPLOADS__DIRECTORY: info.outputPath('uploads') });
    const rights: Rights = { sub: 'ada', role: 'admin', tenants: [acme, globex] };
    // The ticket's redirect belongs to the first page; the second one is a plain visit, listened to from its beginning.
    const first = await open('/notifications', rights, { at: url });
    await expect(first.locator('h1')).toBeVisible();
    const page = await first.context().newPage();
    await first.close();
    const found = complaints(page);
    await page.goto(`${url}${path}`);
    await expect(page.locator('link[rel="icon"]')).toHaveAttribute('href', /^data:image\/svg\+xml,/);
    await use(page, async () => {
      await sql(`insert into public.notifications (tenant_id, type, title, message) values ($1, 'system', 'Welcome', 'This is the first.')`, [acme]);
      await sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', 'Letter.pdf')`, [acme]);
      await sql(`insert into public.chat_sessions (tenant_id, user_id, subject) values ($1, 'ann', 'A plan')`, [acme]);
    });
    expect(found).toEqual([]);
  });
}
