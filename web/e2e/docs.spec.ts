/** What docs/clients.md shows, done. */
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { secret } from './support/bridge';
import { end, until } from './support/postgres';
import { cases, page, test } from './support/site';
import { bundled, complaints, files, replaced, snippets } from './support/snippets';
import { expect, token } from './support/test';

const web = fileURLToPath(new URL('../', import.meta.url));
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

test('registered types of events reach the hooks', () => {
  const [, register] = snippets('Types');
  const all = { 'register.d.ts': register!.code, 'events.ts': readFileSync(new URL('../pages/events.ts', import.meta.url), 'utf8') };
  const program = `import { useLatest } from '@tidings/client/react';
    export const useName = (): string | undefined => useLatest('documents.inserted')?.data.name;`;
  expect(complaints('types', { ...all, 'program.ts': program })).toBe('');
  expect(complaints('types-misspelt', { ...all, 'program.ts': program.replace('data.name', 'data.nom') })).toContain("'nom' does not exist");
});

const signedIn = (tenant: string) => `export const signedIn = async () => ({ id: 'ann', tenant: '${tenant}' }) as { id: string; tenant: string } | null;`;

test('what is shown for React, Next.js and TanStack Query compiles', () => {
  expect(complaints('react', files('React'))).toBe('');
  expect(complaints('query', { 'program.ts': snippets('Hooks and components')[0]!.code })).toBe('');
  expect(complaints('next', { ...files('Next.js'), 'app/signed-in.ts': signedIn('acme') })).toBe('');
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

test('a front end by Next.js shows notifications as they come, with a token of its own backend', async ({ acme, ask, sql, bridge, browser }, info) => {
  test.setTimeout(180_000);
  const app = info.outputPath('next');
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([origin]) });
  mkdirSync(`${app}/app/api/tidings`, { recursive: true });
  const shown = files('Next.js');
  const all: Record<string, string> = {
    'package.json': '{"private":true,"type":"module"}',
    'app/layout.tsx': 'export default function Layout({ children }: { children: React.ReactNode }) { return <html lang="en"><body>{children}</body></html>; }',
    'app/signed-in.ts': signedIn(acme),
    ...shown,
    'app/page.tsx': replaced(shown['app/page.tsx']!, { acme }),
  };
  for (const [file, code] of Object.entries(all)) writeFileSync(`${app}/${file}`, code);
  const environment = { ...process.env, NEXT_TELEMETRY_DISABLED: '1', TIDINGS_URL: url, TIDINGS__AUTH__SECRET: secret };
  // The package as it is packed, not its sources.
  execFileSync(process.execPath, [`${web}client/build.mjs`], { stdio: 'pipe' });
  const next = createRequire(import.meta.url).resolve('next/dist/bin/next');
  execFileSync(process.execPath, [next, 'build'], { cwd: app, env: environment, stdio: 'pipe' });
  const server = spawn(process.execPath, [next, 'start', '--hostname', '127.0.0.1', '--port', String(port)], { cwd: app, env: environment, stdio: 'ignore' });
  try {
    await until('Next.js answers', () => fetch(origin).then((answer) => answer.ok, () => false));
    const opened = await browser.newPage();
    await opened.goto(origin);
    await sql(`insert into public.notifications (tenant_id, type, title, message) values ($1, 'report_ready', 'Weekly report', 'It is there.')`, [acme]);
    await expect(opened.getByText('Weekly report')).toBeVisible();
    await ask({ sub: 'ann', tenants: [acme] }, 'POST', `/v1/tenants/${acme}/documents`, { name: 'Plan.pdf' });
    await expect(opened.getByText('New Document Uploaded')).toBeVisible();
    await opened.close();
  } finally {
    await end(server);
  }
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}
