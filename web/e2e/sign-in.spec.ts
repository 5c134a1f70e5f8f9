import { expect, test } from './support/test';

test('a ticket in the address becomes a cookie that scripts cannot read', async ({ acme, open }) => {
  const page = await open('/', { sub: 'ann', tenants: [acme] });
  expect(page.url()).not.toContain('ticket');
  expect(await page.evaluate(() => document.cookie)).toBe('');
  const session = await page.evaluate(async () => (await fetch('/v1/session')).json());
  expect(session).toMatchObject({ sub: 'ann', role: 'member', tenants: [acme] });
});

test('an inserted row reaches the page that waits for it', async ({ acme, ask }) => {
  const ann = { sub: 'ann', tenants: [acme] };
  const made = (await ask(ann, 'POST', `/v1/tenants/${acme}/documents`, { name: 'Plan.pdf' })) as { id: string };
  const page = (await ask(ann, 'GET', `/v1/tenants/${acme}/events?wait=20&types=documents.*`)) as { events: { subject: string }[] };
  expect(page.events.map((event) => event.subject)).toEqual([made.id]);
});
