/** What docs/clients.md shows, done. */
import { execFileSync, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { until } from './support/postgres';
import { bundled, replaced, snippets } from './support/snippets';
import { expect, test as base, token } from './support/test';

type Answer = (asked: IncomingMessage, answer: ServerResponse) => void;

/** A reader's own web server: another origin than tidings'. */
const test = base.extend<{ site(answers: Record<string, string | Answer>): Promise<string> }>({
  site: async ({}, use) => {
    const servers: Server[] = [];
    await use(async (answers) => {
      const server = createServer((asked, answer) => {
        const given = answers[asked.url ?? ''];
        if (typeof given === 'function') given(asked, answer);
        else if (given === undefined) answer.writeHead(404).end();
        else answer.writeHead(200, { 'content-type': asked.url?.endsWith('.js') ? 'text/javascript' : asked.url === '/token' ? 'text/plain' : 'text/html; charset=utf-8' }).end(given);
      });
      servers.push(server);
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    });
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  },
});

const page = (script: string) => `<!doctype html><title>snippet</title><div id="root"></div><script type="module" src="${script}"></script>`;
const here = 'http://127.0.0.1:8080';

test('plain JavaScript shows the list and follows it, from another origin', async ({ acme, ask, bridge, site, browser }) => {
  const answers: Record<string, string> = {};
  const origin = await site(answers);
  const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([origin]) });
  const [snippet] = snippets('Plain JavaScript');
  answers['/'] = replaced(snippet!.code, { [here]: url, acme });
  answers['/token'] = token({ sub: 'ann', tenants: [acme] });
  const ann = { sub: 'ann', tenants: [acme] };
  await ask(ann, 'POST', `/v1/tenants/${acme}/documents`, { name: 'Before.pdf' });

  const opened = await browser.newPage();
  await opened.goto(origin);
  await expect(opened.getByText('Before.pdf: uploaded')).toBeVisible();
  await ask(ann, 'POST', `/v1/tenants/${acme}/documents`, { name: 'After.pdf' });
  await expect(opened.getByText('After.pdf: uploaded')).toBeVisible();
  await opened.close();
});

test('React shows events as they come', async ({ acme, ask, bridge, site, browser }) => {
  const answers: Record<string, string> = {};
  const origin = await site(answers);
  const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([origin]) });
  const [snippet] = snippets('React');
  const main = `import { createRoot } from 'react-dom/client'; import { StrictMode } from 'react'; import { Documents } from './Documents';
    createRoot(document.getElementById('root')!).render(<StrictMode><Documents /></StrictMode>);`;
  answers['/'] = page('/main.js');
  answers['/main.js'] = await bundled({ 'Documents.tsx': replaced(snippet!.code, { [here]: url, acme }), 'main.tsx': main }, 'main.tsx');
  answers['/token'] = token({ sub: 'ann', tenants: [acme] });

  const opened = await browser.newPage();
  await opened.goto(origin);
  await expect(opened.getByText('connected')).toBeVisible();
  const { id } = (await ask({ sub: 'ann', tenants: [acme] }, 'POST', `/v1/tenants/${acme}/documents`, { name: 'Plan.pdf' })) as { id: string };
  await expect(opened.getByText(`documents.inserted ${id}`)).toHaveCount(1);
  await opened.close();
});

test('Vue shows how far a case is', async ({ acme, sql, bridge, site, browser }) => {
  await cases(sql);
  const answers: Record<string, string> = {};
  const origin = await site(answers);
  const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([origin]) });
  const [snippet] = snippets('Vue');
  const id = `cas-${acme}`;
  await sql(`insert into public.cases (id, tenant_id, user_id, title, status) values ($1, $2, 'ann', 'Parking', 'pending')`, [id, acme]);
  const main = `import { createApp } from 'vue'; import Case from './Case';
    createApp(Case, ${JSON.stringify({ caseId: id, token: token({ sub: 'ann', tenants: [acme] }) })}).mount('#root');`;
  answers['/'] = page('/main.js');
  answers['/main.js'] = await bundled({ 'Case.vue': replaced(snippet!.code, { [here]: url, acme }), 'main.ts': main }, 'main.ts');

  const opened = await browser.newPage();
  await opened.goto(origin);
  await expect(opened.locator('p')).toHaveText('pending');
  await sql(`update public.cases set status = 'processing' where id = $1`, [id]);
  await expect(opened.locator('p')).toHaveText('processing');
  await opened.close();
});

test('curl streams what happens, and goes on from where it was', async ({ acme, ask, url }) => {
  const [stream, next] = snippets('curl');
  const ann = { sub: 'ann', tenants: [acme] };
  const environment = { ...process.env, TOKEN: token(ann) };
  const curl = spawn('bash', ['-c', `exec ${replaced(stream!.code, { [here]: url, acme })}`], { env: environment, stdio: ['ignore', 'pipe', 'ignore'] });
  let said = '';
  curl.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  await until('curl is connected', () => said.includes('event: hello'));
  await ask(ann, 'POST', `/v1/tenants/${acme}/documents`, { name: 'First.pdf' });
  await until('curl shows the event', () => said.includes('First.pdf'));
  curl.kill();

  const cursor = [...said.matchAll(/^id: (.+)$/gm)].at(-1)![1]!;
  await ask(ann, 'POST', `/v1/tenants/${acme}/documents`, { name: 'Second.pdf' });
  const answered = execFileSync('bash', ['-c', replaced(next!.code, { [here]: url, acme })], { env: { ...environment, CURSOR: cursor }, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const names = (JSON.parse(answered) as { events: { data: { name: string } }[] }).events.map((event) => event.data.name);
  expect(names).toEqual(['Second.pdf']);
});

/** The recipe's table, once in the shared database. */
async function cases(sql: (text: string) => Promise<Record<string, unknown>[]>): Promise<void> {
  const recipe = readFileSync(new URL('../../docs/recipes/cases.sql', import.meta.url), 'utf8');
  const [{ there } = { there: null }] = await sql(`select to_regclass('public.cases') as there`);
  if (there === null) await sql(`begin; ${recipe}; commit`);
}
