/** A reader's own web server beside the bridge: another origin than tidings'. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { readFileSync } from 'node:fs';
import { test as base } from './test';

type Answer = (asked: IncomingMessage, answer: ServerResponse) => void;
type Sql = (text: string) => Promise<Record<string, unknown>[]>;

export const test = base.extend<{ site(answers: Record<string, string | Answer>): Promise<string> }>({
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

export const page = (script: string) => `<!doctype html><title>snippet</title><div id="root"></div><script type="module" src="${script}"></script>`;

/** The table of docs/recipes/cases.sql, once in the shared database. */
export async function cases(sql: Sql): Promise<void> {
  const recipe = readFileSync(new URL('../../../docs/recipes/cases.sql', import.meta.url), 'utf8');
  const isThere = async () => (await sql(`select to_regclass('public.cases') as there`))[0]?.['there'] !== null;
  if (await isThere()) return;
  try {
    // All of it or nothing: several statements of one request are one transaction.
    await sql(recipe);
  } catch (error) {
    // Another worker may have been faster.
    if (!(await isThere())) throw error;
  }
}
