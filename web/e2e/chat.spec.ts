/** `/admin/chat` as several admins use it, against the real server. */
import type { Page } from '@playwright/test';
import { expect, test, type Rights } from './support/test';

type Ask = (rights: Rights, method: string, path: string, body?: unknown) => Promise<unknown>;

const ada = (tenant: string): Rights => ({ sub: 'ada', tenants: [tenant], role: 'admin' });
const grace = (tenant: string): Rights => ({ sub: 'grace', tenants: [tenant], role: 'admin' });
const ann = (tenant: string): Rights => ({ sub: 'ann', tenants: [tenant] });

async function begin(ask: Ask, tenant: string, subject: string): Promise<string> {
  const { id } = (await ask(ann(tenant), 'POST', `/v1/tenants/${tenant}/chat/sessions`, { subject })) as { id: string };
  return id;
}

const row = (page: Page, subject: string) => page.locator('.session', { hasText: subject });
const openRow = (page: Page, subject: string) => row(page, subject).locator('.session-open');
const tab = (page: Page, name: string) => page.getByRole('tab', { name: new RegExp(`^${name}`) });
const live = (page: Page) => expect(page.locator('[data-state="connected"]')).toBeVisible();
/** Keeps the page's command to end a session on its way, until what is returned is called: so that a colleague is faster. */
async function hold(page: Page, session: string): Promise<() => Promise<void>> {
  const held = await page.evaluateHandle((id) => {
    const send = WebSocket.prototype.send;
    const kept: (() => void)[] = [];
    WebSocket.prototype.send = function (data) {
      if (String(data).includes('chat.end') && String(data).includes(id)) kept.push(() => send.call(this, data));
      else send.call(this, data);
    };
    return kept;
  }, session);
  return async () => {
    await expect.poll(() => held.evaluate((kept) => kept.length)).toBeGreaterThan(0);
    await held.evaluate((kept) => kept.forEach((pass) => pass()));
  };
}

const said = (page: Page) => page.locator('.said-text');

test('a chat that begins appears on top, and its tab and title count it', async ({ acme, open, ask }) => {
  const page = await open('/admin/chat', ada(acme));
  await expect(page.getByText('Nobody is waiting')).toBeVisible();
  await begin(ask, acme, 'First question');
  await expect(row(page, 'First question')).toBeVisible();
  await begin(ask, acme, 'Second question');
  await expect(page.locator('.session .t-row-title')).toHaveText(['Second question', 'First question']);
  await expect(tab(page, 'Waiting')).toHaveText(/2$/);
  await expect(page).toHaveTitle(/^\(2\)/);
});

test('two admins see what the other does at once, and who looks', async ({ acme, open, ask }) => {
  await begin(ask, acme, 'Where is my invoice?');
  const one = await open('/admin/chat', ada(acme));
  const two = await open('/admin/chat', grace(acme));
  await openRow(one, 'Where is my invoice?').click();
  await expect(row(two, 'Where is my invoice?').getByLabel('Looking: ada')).toBeVisible();
  await openRow(two, 'Where is my invoice?').click();
  await expect(one.getByText('grace is looking at this too')).toBeVisible();
  await one.getByRole('button', { name: 'Assign to me' }).click();
  await expect(row(two, 'Where is my invoice?')).toHaveCount(0);
  await tab(two, 'Active').click();
  await expect(row(two, 'Where is my invoice?').getByTitle('Assigned to ada')).toBeVisible();
  await expect(two.locator('.open-head')).toContainText('Assigned to ada');
  await two.close();
  await expect(one.getByText('grace is looking at this too')).toHaveCount(0);
});

test('of two who end the same chat the second is told, and shown how it is', async ({ acme, open, ask }) => {
  const id = await begin(ask, acme, 'Ends twice');
  const page = await open('/admin/chat', ada(acme));
  await live(page);
  await openRow(page, 'Ends twice').click();
  await expect(said(page)).toHaveText(/^Hello/);
  // The colleague is faster: this page's command is on its way when they end it.
  const release = await hold(page, id);
  await page.getByRole('button', { name: 'End', exact: true }).click();
  // Shown before the server has answered.
  await expect(page.locator('.composer-closed')).toBeVisible();
  await ask(grace(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/end`);
  await release();
  await expect(page.locator('.t-toast')).toContainText('Somebody else ended it');
  await expect(tab(page, 'Ended')).toHaveText(/1$/);
  await expect(tab(page, 'Waiting')).toHaveText(/0$/);
});

test('a bulk command says which it could not do', async ({ acme, open, ask }) => {
  const ids: string[] = [];
  for (let number = 1; number <= 12; number += 1) ids.push(await begin(ask, acme, `Bulk ${String(number).padStart(2, '0')}`));
  const page = await open('/admin/chat', ada(acme));
  await expect(page.locator('.session')).toHaveCount(12);
  await row(page, 'Bulk 12').getByRole('checkbox').check();
  await row(page, 'Bulk 03').getByRole('checkbox').click({ modifiers: ['Shift'] });
  await expect(page.getByText('10 selected')).toBeVisible();
  const release = await hold(page, ids[6]!);
  await page.getByRole('button', { name: 'End (10)' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'End', exact: true }).click();
  await ask(grace(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${ids[6]}/end`);
  await release();
  await expect(page.locator('.bulk-result')).toContainText('9 ended. 1 could not be');
  await expect(page.locator('.bulk-result')).toContainText('Bulk 07: Somebody else ended it');
  await expect(page.locator('.session')).toHaveCount(2);
  await expect(tab(page, 'Ended')).toHaveText(/10$/);
});

test('an answer is written word by word, and stands there as the server keeps it', async ({ acme, open, ask }) => {
  const id = await begin(ask, acme, 'Streams');
  const page = await open(`/admin/chat?session=${id}`, ada(acme));
  await live(page);
  const lengths = await page.evaluateHandle(() => {
    const seen = new Set<string>();
    new MutationObserver(() => document.querySelectorAll('.said[data-role="assistant"] .said-text').forEach((text) => seen.add(text.textContent ?? ''))).observe(document.body, { subtree: true, childList: true, characterData: true });
    return seen;
  });
  // Words are live only: what began before the page was there comes whole. So it is asked until one was watched from its beginning.
  let asked = 0;
  await expect(async () => {
    asked += 1;
    const words = Array.from({ length: 30 }, (_, index) => `word${asked}.${index}`).join(' ');
    await ask(ann(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/messages`, { content: words });
    await expect(page.locator('.said[data-role="assistant"]', { hasText: words })).toHaveAttribute('data-status', 'sent');
    const parts = await lengths.evaluate((seen) => [...seen]);
    expect(parts.filter((part) => part.includes(`word${asked}.0`) && !part.includes(`word${asked}.29`)).length).toBeGreaterThan(3);
  }).toPass();
  await expect(page.locator('.caret')).toHaveCount(0);
});

test('an answer of an admin takes the chat up, and reaches the user', async ({ acme, open, ask }) => {
  const id = await begin(ask, acme, 'Needs a person');
  const page = await open(`/admin/chat?session=${id}`, ada(acme));
  const field = page.getByLabel('Your answer');
  await field.fill('One line');
  await field.press('Shift+Enter');
  await field.pressSequentially('and another');
  await field.press('Enter');
  await expect(said(page).last()).toHaveText('One line\nand another');
  await expect(page.locator('.open-head')).toContainText('Active');
  await expect(page.locator('.open-head')).toContainText('Assigned to You');
  const { messages } = (await ask(ann(acme), 'GET', `/v1/tenants/${acme}/chat/sessions/${id}/messages`)) as { messages: { content: string; author: string }[] };
  expect(messages.at(-1)).toMatchObject({ content: 'One line\nand another', author: 'ada' });
});

test('who types is shown, and no longer once it is said', async ({ acme, open, ask }) => {
  const id = await begin(ask, acme, 'Types');
  const page = await open(`/admin/chat?session=${id}`, ada(acme));
  await live(page);
  await expect(async () => {
    await ask(ann(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/typing`);
    await expect(page.locator('.typing')).toContainText('ann is typing', { timeout: 500 });
  }).toPass();
  await expect(row(page, 'Types')).toContainText('ann is typing');
  await ask(ann(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/messages`, { content: 'There.' });
  await expect(row(page, 'Types')).not.toContainText('is typing');
});

test('what happened while the page was cut off is there when it is back, once', async ({ acme, open, ask, proxyOf }) => {
  await begin(ask, acme, 'Before');
  const id = await begin(ask, acme, 'Open one');
  const proxy = await proxyOf();
  const page = await open(`/admin/chat?session=${id}`, ada(acme), { at: proxy.url });
  await live(page);
  await page.getByLabel('Your answer').fill('Half an answer');
  proxy.down();
  await expect(page.locator('[data-state="connected"]')).toHaveCount(0);
  await expect(page.getByRole('button', { name: 'Assign to me' })).toBeDisabled();
  for (let number = 0; number < 60; number += 1) await ask(ann(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/messages`, { id: `away-${number}`, content: `Away ${number}.` });
  await begin(ask, acme, 'During');
  proxy.up();
  await expect(row(page, 'During')).toBeVisible();
  await expect(said(page).filter({ hasText: /^Away 59\.$/ })).toBeVisible();
  const texts = (await page.locator('.said[data-role="user"] .said-text').allTextContents()).filter((text) => text.startsWith('Away'));
  expect(texts).toEqual(Array.from({ length: 60 }, (_, number) => `Away ${number}.`));
  await expect(page.getByLabel('Your answer')).toHaveValue('Half an answer');
});

test('goes on when the server was restarted under it', async ({ acme, open, ask, bridge }) => {
  const id = await begin(ask, acme, 'Survives');
  const own = await bridge();
  const page = await open('/admin/chat', ada(acme), { at: own.url });
  await live(page);
  await own.stop('SIGKILL');
  await ask(grace(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/assign`);
  await own.restart();
  await tab(page, 'Active').click();
  await expect(row(page, 'Survives').getByTitle('Assigned to grace')).toBeVisible();
  await expect(tab(page, 'Waiting')).toHaveText(/0$/);
});

test('everything is done with the keyboard, and nothing while somebody types', async ({ acme, open, ask }) => {
  for (const subject of ['Key three', 'Key two', 'Key one']) await begin(ask, acme, subject);
  const page = await open('/admin/chat', ada(acme));
  await expect(page.locator('.session')).toHaveCount(3);
  await page.keyboard.press('j');
  await expect(openRow(page, 'Key one')).toBeFocused();
  await page.keyboard.press('j');
  await expect(openRow(page, 'Key two')).toBeFocused();
  await page.keyboard.press('k');
  await page.keyboard.press('x');
  await expect(page.getByText('1 selected')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByText('1 selected')).toHaveCount(0);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Key one' })).toBeVisible();
  await page.keyboard.press('r');
  await page.keyboard.type('aexAj?/');
  await expect(page.getByLabel('Your answer')).toHaveValue('aexAj?/');
  await expect(tab(page, 'Waiting')).toHaveText(/3$/);
  await page.keyboard.press('Escape');
  await page.keyboard.press('a');
  await expect(page.locator('.open-head')).toContainText('Assigned to You');
  await page.keyboard.press('e');
  await expect(page.getByRole('dialog', { name: 'End this chat?' })).toBeVisible();
  await page.keyboard.press('Enter');
  await expect(page.locator('.composer-closed')).toBeVisible();
  await page.keyboard.press('Shift+A');
  await expect(tab(page, 'Archived')).toHaveText(/1$/);
  await page.keyboard.press('Escape');
  await expect(page.getByText('Choose a chat')).toBeVisible();
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keys' })).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog', { name: 'Keys' })).toHaveCount(0);
  await page.keyboard.press('/');
  await page.keyboard.type('key two');
  await expect(page.locator('.session')).toHaveCount(1);
  await expect(openRow(page, 'Key two')).toBeVisible();
});

test('keeps the open chat over a reload, and goes back with the browser', async ({ acme, open, ask }) => {
  await begin(ask, acme, 'Stays open');
  const page = await open('/admin/chat', ada(acme));
  await openRow(page, 'Stays open').click();
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Stays open' })).toBeVisible();
  await page.goBack();
  await expect(page.getByText('Choose a chat')).toBeVisible();
});

test('finds on the server what no page has brought, and says so of nothing', async ({ acme, open, ask, sql }) => {
  await sql(`insert into public.chat_sessions (tenant_id, user_id, subject, created_at) select $1, 'ann', 'Old ' || n, now() - n * interval '1 minute' from generate_series(1, 120) n`, [acme]);
  const page = await open('/admin/chat', ada(acme));
  await expect(page.locator('.session').first()).toContainText('Old 1');
  await expect(tab(page, 'Waiting')).toHaveText(/120$/);
  await page.getByLabel('Search subject or user').fill('old 117');
  await expect(page.locator('.session')).toHaveCount(1);
  await expect(tab(page, 'Waiting')).toHaveText(/1$/);
  await page.getByLabel('Search subject or user').fill('nothing like it');
  await expect(page.getByText('Nothing found under Waiting')).toBeVisible();
  await page.getByRole('button', { name: 'Show all' }).click();
  await page.locator('.list').evaluate(async (list) => {
    while (list.querySelectorAll('.session').length < 120) {
      list.scrollTop = list.scrollHeight;
      await new Promise((resolve) => requestAnimationFrame(resolve));
    }
  });
  await expect(page.getByText('That is all of them')).toBeVisible();
});

test('whoever has scrolled down stays there while chats begin, and is told how many', async ({ acme, open, ask, sql }) => {
  await sql(`insert into public.chat_sessions (tenant_id, user_id, subject, created_at) select $1, 'ann', 'Old ' || n, now() - n * interval '1 minute' from generate_series(1, 40) n`, [acme]);
  const page = await open('/admin/chat', ada(acme));
  await expect(page.locator('.session')).toHaveCount(40);
  await live(page);
  await page.locator('.list').evaluate((list) => list.scrollTo({ top: 600 }));
  const top = () => page.locator('.session', { hasText: 'Old 20' }).evaluate((element) => Math.round(element.getBoundingClientRect().top));
  const before = await top();
  await begin(ask, acme, 'Fresh one');
  await begin(ask, acme, 'Fresh two');
  await page.getByRole('button', { name: '2 new chats' }).waitFor();
  expect(Math.abs((await top()) - before)).toBeLessThanOrEqual(1);
  await page.getByRole('button', { name: '2 new chats' }).click();
  await expect(row(page, 'Fresh two')).toBeInViewport();
});

/** Counts the sounds that a page makes. */
async function listen(page: Page): Promise<() => Promise<number>> {
  await page.evaluate(() => {
    const start = OscillatorNode.prototype.start;
    OscillatorNode.prototype.start = function (...when) {
      (window as unknown as { sounds: number }).sounds = ((window as unknown as { sounds?: number }).sounds ?? 0) + 1;
      start.apply(this, when);
    };
  });
  return () => page.evaluate(() => (window as unknown as { sounds?: number }).sounds ?? 0);
}

test('of several tabs one sounds, and when that is closed another one', async ({ acme, open, ask }) => {
  const first = await open('/notifications', ada(acme));
  // A page without chats holds the connection, and has no sound.
  await expect(first.getByRole('status').filter({ hasText: 'Live' })).toBeVisible();
  const tabs = [await first.context().newPage(), await first.context().newPage()] as const;
  for (const page of tabs) await page.goto(new URL('/admin/chat', first.url()).href);
  for (const page of tabs) await live(page);
  const sounds = [await listen(tabs[0]), await listen(tabs[1])] as const;
  await tabs[0].getByRole('button', { name: 'Sound on' }).click();
  await expect(tabs[1].getByRole('button', { name: 'Sound on' })).toHaveAttribute('aria-pressed', 'true');
  // That it is on was heard where it was pressed.
  const before = [await sounds[0](), await sounds[1]()];
  const sounded = async () => [(await sounds[0]()) > before[0]!, (await sounds[1]()) > before[1]!];
  await expect(async () => {
    await begin(ask, acme, 'Heard once');
    expect(await sounded()).toContain(true);
  }).toPass({ intervals: [1000] });
  expect(await sounded()).toContain(false);
  const [one, other] = (await sounded())[0] ? ([0, 1] as const) : ([1, 0] as const);
  await tabs[one].close();
  await expect(async () => {
    await begin(ask, acme, 'Heard by the other');
    expect(await sounds[other]()).toBeGreaterThan(before[other]!);
  }).toPass({ intervals: [1000] });
});

test('sounds when it was asked to, and is silent otherwise', async ({ acme, open, ask }) => {
  const page = await open('/admin/chat', ada(acme));
  const sounds = await listen(page);
  await live(page);
  await begin(ask, acme, 'Unheard');
  await expect(row(page, 'Unheard')).toBeVisible();
  expect(await sounds()).toBe(0);
  await page.getByRole('button', { name: 'Sound on' }).click();
  const once = await sounds();
  expect(once).toBeGreaterThan(0);
  await expect(async () => {
    await begin(ask, acme, 'Heard');
    expect(await sounds()).toBeGreaterThan(once);
  }).toPass({ intervals: [1000] });
});

test('a member is told what is needed, and gets nothing', async ({ acme, open, ask }) => {
  await begin(ask, acme, 'Not for members');
  const page = await open('/admin/chat', { sub: 'ben', tenants: [acme] });
  await expect(page.getByRole('heading', { name: 'Chats are managed by admins' })).toBeVisible();
  await expect(page.getByText('Not for members')).toHaveCount(0);
});

test('a page of one tenant never shows what is of another', async ({ acme, globex, open, ask }) => {
  await begin(ask, globex, 'Secret of globex');
  const page = await open(`/admin/chat?tenant=${globex}`, ada(acme));
  await live(page);
  const id = await begin(ask, globex, 'Live secret of globex');
  await begin(ask, acme, 'Of acme');
  await expect(row(page, 'Of acme')).toBeVisible();
  await expect(page.getByText('secret of globex')).toHaveCount(0);
  await page.goto(`${page.url().split('?')[0]}?session=${id}`);
  await expect(page.getByText('This chat is not there')).toBeVisible();
});

test('an admin of several tenants chooses one', async ({ acme, globex, open, ask }) => {
  await begin(ask, acme, 'Of acme');
  await begin(ask, globex, 'Of globex');
  const page = await open(`/admin/chat?tenant=${globex}`, { sub: 'ada', tenants: [acme, globex], role: 'admin' });
  await expect(row(page, 'Of globex')).toBeVisible();
  await page.getByLabel('Tenant').selectOption(acme);
  await expect(row(page, 'Of acme')).toBeVisible();
  await expect(row(page, 'Of globex')).toHaveCount(0);
});

test('a text in a row stays a text', async ({ acme, open, ask }) => {
  const id = await begin(ask, acme, '<img src=x onerror="document.title=1">');
  const page = await open(`/admin/chat?session=${id}`, ada(acme));
  await ask(ann(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/messages`, { content: '<script>document.title = 1</script><b>bold</b>' });
  await expect(said(page).filter({ hasText: '<b>bold</b>' }).first()).toBeVisible();
  await expect(row(page, '<img src=x')).toBeVisible();
  expect(await page.locator('main img, main b').count()).toBe(0);
});

for (const colorScheme of ['light', 'dark'] as const)
  test(`axe finds nothing, ${colorScheme}`, async ({ acme, open, ask, accessible }) => {
    const id = await begin(ask, acme, 'Accessible');
    await begin(ask, acme, 'Another');
    await ask(ann(acme), 'POST', `/v1/tenants/${acme}/chat/sessions/${id}/messages`, { content: 'Hello?' });
    const page = await open('/admin/chat', ada(acme), { colorScheme });
    await expect(page.locator('.session')).toHaveCount(2);
    await accessible(page);
    await openRow(page, 'Accessible').click();
    await expect(said(page).filter({ hasText: 'You said' })).toBeVisible();
    await row(page, 'Another').getByRole('checkbox').check();
    await accessible(page);
    await page.keyboard.press('?');
    await accessible(page);
    await page.keyboard.press('Escape');
    await page.setViewportSize({ width: 390, height: 844 });
    await accessible(page);
    await page.getByRole('button', { name: 'Back to the list' }).click();
    await accessible(page);
    await accessible(await open('/admin/chat', { sub: 'ben', tenants: [acme] }, { colorScheme }));
  });
