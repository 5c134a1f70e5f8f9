import { expect, test } from './support/test';

const sizes = { phone: { width: 390, height: 844 }, wide: { width: 1440, height: 900 }, narrow: { width: 320, height: 640 } };
const pages = ['/', '/notifications', '/admin/chat'];

for (const colorScheme of ['light', 'dark'] as const) {
  for (const [size, viewport] of Object.entries(sizes)) {
    for (const path of pages) {
      test(`${path} is accessible and fits, ${colorScheme}, ${size}`, async ({ acme, globex, open, sql, accessible }) => {
        await sql(`insert into public.notifications (tenant_id, type, title, message) values ($1, 'system', 'Welcome', 'This is the first.')`, [acme]);
        const page = await open(path, { sub: 'ada', role: 'admin', tenants: [acme, globex] }, { colorScheme, viewport });
        await expect(page.getByRole('button', { name: 'Account of ada' })).toBeVisible();
        await expect(page.locator('h1')).toBeVisible();
        await sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', 'Plan.pdf')`, [acme]);
        if (path === '/') await expect(page.locator('.event').first()).toBeVisible();
        await accessible(page);
        expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
      });
    }

    test(`the sign-in is accessible and fits, ${colorScheme}, ${size}`, async ({ url, browser, accessible }) => {
      const context = await browser.newContext({ colorScheme, viewport });
      const page = await context.newPage();
      await page.goto(url);
      await expect(page.locator('h1')).toBeVisible();
      await accessible(page);
      expect(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true);
      await context.close();
    });
  }
}

test('what unfolds, floats and passes by is accessible too', async ({ acme, open, sql, accessible }) => {
  const page = await open('/', { sub: 'ada', role: 'admin', tenants: [acme] });
  await expect(page.locator('[data-state="connected"]').first()).toBeVisible();
  await sql(`insert into public.documents (tenant_id, uploaded_by, name) values ($1, 'ann', 'Plan.pdf')`, [acme]);
  await page.locator('.event summary').first().click();
  await page.getByRole('button', { name: 'Copy', exact: true }).first().click();
  await page.getByRole('button', { name: /^End connection/ }).first().click();
  await page.getByRole('button', { name: 'Account of ada' }).click();
  await accessible(page);
});
