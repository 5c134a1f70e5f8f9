/** What is pointed at stays where it is while others come: a press hits the row that was meant. */
import type { Locator, Page } from '@playwright/test';
import { expect, test } from './support/test';

/** Moves over the row until the page knows of what is new, and says whether the row is still below the pointer. */
async function point(page: Page, row: Locator, known: () => Promise<unknown>, change: () => Promise<unknown>): Promise<boolean> {
  const box = (await row.boundingBox())!;
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await change();
  let nudge = 0;
  await expect.poll(async () => {
    await page.mouse.move(x + (nudge++ % 2), y);
    return known();
  }, { intervals: [50] }).toBeTruthy();
  return row.evaluate((element, [x, y]) => element.contains(document.elementFromPoint(x!, y!)), [x, y]);
}

test('a chat that is pointed at stays below the pointer while others begin and leave, which show when it has left', async ({ acme, open, sql }) => {
  await sql(`insert into public.chat_sessions (tenant_id, user_id, subject, created_at) select $1, 'ann', 'Old ' || n, now() - n * interval '1 minute' from generate_series(1, 5) n`, [acme]);
  const page = await open('/admin/chat', { sub: 'ada', role: 'admin', tenants: [acme] });
  const waiting = page.getByRole('tab', { name: /^Waiting/ });
  const row = page.locator('.session').filter({ hasText: 'Old 3' });
  await expect(row).toBeVisible();
  const stayed = await point(page, row, async () => (await waiting.textContent())?.includes('6'), async () => {
    await sql(`insert into public.chat_sessions (tenant_id, user_id, subject) select $1, 'ann', 'Late ' || n from generate_series(1, 2) n`, [acme]);
    await sql(`update public.chat_sessions set status = 'active', assigned_to = 'grace' where tenant_id = $1 and subject = 'Old 1'`, [acme]);
  });
  expect(stayed).toBe(true);
  await page.mouse.move(1, 1);
  await expect(page.locator('.session').filter({ hasText: 'Late' })).toHaveCount(2);
  await expect(page.locator('.session').filter({ hasText: 'Old 1' })).toHaveCount(0);
});

test('a notification that is pointed at stays below the pointer while others arrive, which show when it has left', async ({ acme, open, sql }) => {
  const insert = (title: string, age: number) => sql(`insert into public.notifications (tenant_id, type, title, message, created_at) values ($1, 'system', $2, 'It says so.', now() - $3 * interval '1 minute')`, [acme, title, age]);
  for (const age of [3, 2, 1]) await insert(`Old ${age}`, age);
  const page = await open('/notifications', { sub: 'ben', tenants: [acme] });
  const row = page.locator('.t-notification').filter({ hasText: 'Old 2' });
  await expect(row).toBeVisible();
  expect(await point(page, row, () => page.locator('.t-feed-pill .t-pill').isVisible(), () => insert('New', 0))).toBe(true);
  await page.mouse.move(1, 1);
  await expect(page.locator('.t-notification').first()).toContainText('New');
  await expect(page.locator('.t-feed-pill')).toHaveCount(0);
});

test('an event that is pointed at stays below the pointer while others come, which show when it has left', async ({ acme, open, sql }) => {
  const insert = (name: string) => sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', $2)`, [acme, name]);
  const page = await open('/', { sub: 'ann', tenants: [acme] });
  const column = page.locator('.stream').first();
  await expect(column.locator('[data-state="connected"]')).toBeVisible();
  await insert('first');
  await expect(column.locator('.event')).toHaveCount(1);
  const row = column.locator('.event').first();
  expect(await point(page, row, () => column.locator('.held').isVisible(), () => insert('second'))).toBe(true);
  await expect(column.locator('.event')).toHaveCount(1);
  await page.mouse.move(1, 1);
  await expect(column.locator('.event')).toHaveCount(2);
});
