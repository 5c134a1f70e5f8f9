/** The client side of the recipes in docs/replacing.md: each file that they show is compiled as strictly as our own, and used in a browser. */
import type { Page } from '@playwright/test';
import { cases, page, test as base } from './support/site';
import { bundled, complaints, replaced, shownFile } from './support/snippets';
import { expect, token, type Rights } from './support/test';

const here = 'http://127.0.0.1:8080';

interface Shown {
  /** The shown component as JSX, in a provider. */
  element: string;
  provider?: boolean;
  who: Rights;
  /** What stands there in place of what readers would replace. */
  values?: Record<string, string>;
  /** Files that are the reader's own. */
  yours?: Record<string, string>;
}

/** Opens a page of another origin that shows the file of a recipe. */
const test = base.extend<{ shown(heading: string, shown: Shown): Promise<Page> }>({
  shown: async ({ site, bridge, browser }, use) => {
    const pages: Page[] = [];
    await use(async (heading, { element, provider = true, who, values = {}, yours = {} }) => {
      const answers: Record<string, string> = {};
      const origin = await site(answers);
      const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([origin]) });
      const { file, code } = shownFile(heading, 'replacing.md');
      const name = file.replace('.tsx', '');
      const main = `import { StrictMode } from 'react';
        import { createRoot } from 'react-dom/client';
        import { TidingsProvider } from '@tidings/client/react';
        import { ${name} } from './${name}';
        const getToken = async () => (await fetch('/token')).text();
        const shown = ${element};
        createRoot(document.getElementById('root')!).render(<StrictMode>${provider ? `<TidingsProvider url="${url}" tenant="${who.tenants![0]}" getToken={getToken}>{shown}</TidingsProvider>` : '{shown}'}</StrictMode>);
        export { getToken };`;
      const files = { [file]: replaced(code, code.includes(here) ? { [here]: url, ...values } : values), 'main.tsx': main, ...yours };
      expect(complaints(name, files)).toBe('');
      answers['/'] = page('/main.js');
      answers['/main.js'] = await bundled(files, 'main.tsx');
      answers['/token'] = token(who);
      const opened = await browser.newPage();
      pages.push(opened);
      await opened.goto(origin);
      return opened;
    });
    for (const opened of pages) await opened.close();
  },
});

test('uploads: files go to a bucket of one’s own, and their way is seen without a poll or a reload', async ({ acme, sql, shown }) => {
  const yours = `export const tenantId = '${acme}';
    export const getToken = async () => (await fetch('/token')).text();
    export const toast = { error: (text: string) => document.body.append(text) };
    export async function uploadFileToS3(file: File) {
      if (file.name === 'Huge.pdf') throw new Error('The bucket is full.');
      return { key: \`k/\${file.name}\`, url: \`https://bucket.example/k/\${file.name}\` };
    }`;
  const opened = await shown('Uploads and notifications by polling', { element: '<Uploads />', provider: false, who: { sub: 'ann', tenants: [acme] }, yours: { 'yours.ts': yours } });
  await expect(opened.getByText('No documents yet')).toBeVisible();
  await opened.locator('input[type=file]').first().setInputFiles({ name: 'Plan.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF') });
  await expect(opened.getByRole('button', { name: 'Documents, 1 in progress' })).toBeVisible();
  await expect(opened.getByRole('button', { name: 'Notifications, 1 new' })).toBeVisible();
  const [row] = await sql('select id, url, metadata from documents where tenant_id = $1', [acme]);
  expect(row).toMatchObject({ url: 'https://bucket.example/k/Plan.pdf', metadata: { s3Key: 'k/Plan.pdf' } });
  await sql(`select tidings_app.set_document_status($1, $2, 'processed', null, null, null)`, [acme, row!['id']]);
  await expect(opened.getByRole('list', { name: 'Documents' })).toContainText('Processed');
  await expect(opened.getByRole('button', { name: 'Notifications, 2 new' })).toBeVisible();

  await opened.locator('input[type=file]').first().setInputFiles({ name: 'Huge.pdf', mimeType: 'application/pdf', buffer: Buffer.from('%PDF') });
  await expect(opened.getByText('Error uploading Huge.pdf: The bucket is full.')).toBeVisible();
});

test('dashboard: each organisation’s events of the types that were subscribed to, and the last state of health', async ({ acme, globex, ask, shown }) => {
  const opened = await shown('A dashboard over SSE', { element: `<Dashboard organizationId="${acme}" />`, who: { sub: 'ann', tenants: [acme] } });
  await expect(opened.getByText('Live', { exact: true }).first()).toBeVisible();
  const tell = (tenant: string, type: string, data: object) => ask({ sub: 'worker', tenants: [tenant], role: 'service' }, 'POST', `/v1/tenants/${tenant}/events`, { type, data });
  await tell(globex, 'error_notification', { message: 'Theirs' });
  await tell(acme, 'user_activity', {});
  await tell(acme, 'document_processing', { stage: 'ocr', filename: 'a.pdf' });
  await tell(acme, 'error_notification', { message: 'Out of room' });
  await expect(opened.getByRole('listitem')).toHaveText(['a.pdf: ocr', 'Out of room']);
  await expect(opened.getByText('Events: 2')).toBeVisible();
  await expect(opened.getByText('Database: not told yet')).toBeVisible();
  await tell(acme, 'system_health', { database: 'down' });
  await expect(opened.getByText('Database: down')).toBeVisible();
});

test('cases: the owner sees each step, and why it failed', async ({ acme, sql, shown }) => {
  await cases(sql);
  const id = `cas-react-${acme}`;
  await sql(`insert into public.cases (id, tenant_id, user_id, title, status) values ($1, $2, 'ann', 'Parking', 'pending')`, [id, acme]);
  const who = { sub: 'ann', tenants: [acme] };
  const element = `<Case caseId="${id}" token="${token(who)}" />`;
  const opened = await shown('Cases over WebSocket, with polling beside it', { element, provider: false, who, values: { acme } });
  await expect(opened.getByText('pending', { exact: true })).toBeVisible();
  await sql(`update public.cases set status = 'processing' where id = $1`, [id]);
  await expect(opened.getByText('processing', { exact: true })).toBeVisible();
  await sql(`update public.cases set status = 'failed', error = '{"code":"unreadable","message":"Page 3 cannot be read."}' where id = $1`, [id]);
  await expect(opened.getByRole('alert')).toHaveText('Page 3 cannot be read.');
  await sql(`update public.cases set status = 'processing', error = null where id = $1`, [id]);
  await sql(`update public.cases set status = 'completed', results = '{"likelihood":0.7}' where id = $1`, [id]);
  await expect(opened.locator('pre')).toHaveText('{"likelihood":0.7}');
});

test('chat: what is sent is there at once, is answered, and an edit of the post asks for a follow-up', async ({ acme, ask, shown }) => {
  const who = { sub: 'ann', tenants: [acme] };
  const { id } = (await ask(who, 'POST', `/v1/tenants/${acme}/chat/sessions`, { subject: 'Post', metadata: { post_id: 'p1' } })) as { id: string };
  const opened = await shown('AI chat over SSE and POST', { element: `<PostEditor sessionId="${id}" />`, who });
  const answers = opened.locator('[data-role=assistant]');
  await expect(answers).toHaveText([/^Hello Ann!/]);
  await opened.getByPlaceholder('Ask something').fill('How are you?');
  await opened.getByRole('button', { name: 'Send' }).click();
  await expect(opened.locator('[data-role=user]')).toHaveText('How are you?');
  await expect(answers).toHaveText([/^Hello Ann!/, /How are you\?/]);
  await expect(opened.getByText('Somebody is writing')).toHaveCount(0);
  await opened.getByPlaceholder('Write your post...').fill('Short');
  await opened.getByPlaceholder('Write your post...').fill('A post of more than ten characters');
  await expect(answers).toHaveCount(3);
});

test('admin page: sessions and metrics follow by themselves, and a command is done', async ({ acme, ask, shown }) => {
  const opened = await shown('An admin page for chats over WebSocket', { element: '<AdminChat />', who: { sub: 'ada', tenants: [acme], role: 'admin' } });
  await expect(opened.getByText('live, 0 waiting')).toBeVisible();
  await expect(opened.getByText('Loading')).toHaveCount(0);
  await ask({ sub: 'ann', tenants: [acme] }, 'POST', `/v1/tenants/${acme}/chat/sessions`, { subject: 'Invoice' });
  await expect(opened.getByRole('listitem')).toContainText('Invoice: waiting');
  await expect(opened.getByText('live, 1 waiting')).toBeVisible();
  await opened.getByRole('button', { name: 'End' }).click();
  await expect(opened.getByRole('listitem')).toContainText('Invoice: ended');
  await expect(opened.getByText('live, 0 waiting')).toBeVisible();
});
