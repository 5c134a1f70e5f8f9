/**
 * How long it takes from one admin's click until the row has changed on another's screen: two Chromium contexts, the real server, PostgreSQL.
 * `npm run measure [-- SAMPLES]` prints the median and the 99th percentile. It judges nothing: what is fast enough depends on the machine.
 *
 * Both clocks are the browser's, which all its contexts share. A click is the moment at which its event is dispatched; a change, the first frame
 * that is drawn with the row gone from the list.
 */
import { chromium, type Page } from '@playwright/test';
import pg from 'pg';
import config from '../playwright.config';
import { token, type Rights } from './support/bridge';
import start from './support/start';

const samples = Number(process.argv[2] ?? 200);
const tenant = 'measured';
/** A sample that takes longer is lost: it is counted, and the next one is taken. */
const deadlineMs = 15_000;
const stop = await start();
const url = process.env['E2E_BRIDGE']!;
const database = new pg.Pool({ connectionString: process.env['E2E_DATABASE']! });
await database.query('insert into public.tenants (id, name) values ($1, $1)', [tenant]);
const browser = await chromium.launch(config.use?.launchOptions ?? {});

async function open(rights: Rights): Promise<Page> {
  const answer = await fetch(`${url}/v1/tickets`, { method: 'POST', headers: { authorization: `Bearer ${token(rights)}` } });
  const { ticket } = (await answer.json()) as { ticket: string };
  const page = await (await browser.newContext()).newPage();
  page.setDefaultTimeout(deadlineMs);
  await page.goto(`${url}/admin/chat?ticket=${ticket}`);
  await page.locator('[data-state="connected"]').waitFor();
  return page;
}

const clicks = await open({ sub: 'ada', tenants: [tenant], role: 'admin' });
const watches = await open({ sub: 'grace', tenants: [tenant], role: 'admin' });
await watches.evaluate(() => {
  const scope = globalThis as unknown as { gone(id: string): Promise<number> };
  scope.gone = (id) => new Promise((resolve) => {
    const look = () => {
      if (document.querySelector(`[data-id="${id}"]`)) return false;
      requestAnimationFrame(() => resolve(performance.timeOrigin + performance.now()));
      return true;
    };
    if (look()) return;
    const watching = new MutationObserver(() => look() && watching.disconnect());
    watching.observe(document.body, { childList: true, subtree: true });
  });
});

async function measure(sample: number): Promise<number> {
  const { rows } = await database.query<{ id: string }>(`insert into public.chat_sessions (tenant_id, user_id, subject) values ($1, 'ann', $2) returning id`, [tenant, `Sample ${sample}`]);
  const { id } = rows[0]!;
  await watches.locator(`[data-id="${id}"]`).waitFor();
  await clicks.locator(`[data-id="${id}"] .session-open`).click();
  const gone = watches.evaluate((one) => (globalThis as unknown as { gone(id: string): Promise<number> }).gone(one), id);
  // A sample that is lost before it is waited for must not end the run.
  gone.catch(() => undefined);
  await clicks.evaluate(() => {
    const scope = globalThis as unknown as { clicked: number };
    document.addEventListener('click', () => (scope.clicked = performance.timeOrigin + performance.now()), { capture: true, once: true });
  });
  await clicks.getByRole('button', { name: 'Assign to me' }).click();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(new Error('the row did not change')), deadlineMs)));
  const changed = await Promise.race([gone, late]).finally(() => clearTimeout(timer));
  return changed - (await clicks.evaluate(() => (globalThis as unknown as { clicked: number }).clicked));
}

const taken: number[] = [];
let lost = 0;
for (let sample = 0; sample < samples; sample += 1) {
  try {
    taken.push(await measure(sample));
  } catch (error) {
    lost += 1;
    console.error(`sample ${sample} is lost: ${error instanceof Error ? error.message.split('\n')[0] : String(error)}`);
    // Whatever is wrong with all of them is not measured two hundred times.
    if (lost > 3) break;
  }
}

taken.sort((a, b) => a - b);
const at = (part: number) => taken[Math.min(taken.length - 1, Math.floor(part * taken.length))]?.toFixed(1) ?? '–';
console.log(`click in one browser to row changed in another, ${taken.length} samples${lost ? `, ${lost} lost` : ''}: median ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${at(1)} ms`);

await browser.close();
await database.end();
await stop();
