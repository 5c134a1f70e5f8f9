/** Where the client runs besides a page: on a server that renders, and in a program. Workers are in `e2e/worker.spec.ts`. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Bridge, tidings, token } from '../../e2e/support/bridge';
import { startPostgres, type Postgres } from '../../e2e/support/postgres';

const web = fileURLToPath(new URL('../../', import.meta.url));

/** Runs a program in a Node of its own until it ends by itself, and returns what it said. */
async function run(code: string, environment: Record<string, string> = {}): Promise<string> {
  const alias = { '@tidings/client/react': `${web}client/react/index.ts`, '@tidings/client': `${web}client/src/index.ts` };
  // React's own parts for servers `require` what Node has.
  const banner = { js: `import { createRequire } from 'node:module'; const require = createRequire('file://${web}');` };
  const { outputFiles } = await build({ stdin: { contents: code, loader: 'tsx', resolveDir: web }, bundle: true, write: false, platform: 'node', format: 'esm', target: 'node20', jsx: 'automatic', alias, banner });
  const home = await mkdtemp(join(tmpdir(), 'tidings-places-'));
  try {
    await writeFile(join(home, 'main.mjs'), outputFiles[0]!.text);
    const child = spawn(process.execPath, [join(home, 'main.mjs')], { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (said += piece.toString()));
    // One that waits for a timer for ever is ended, and shown by the code.
    const late = setTimeout(() => child.kill('SIGKILL'), 30_000);
    const code = await new Promise((resolve) => child.once('close', resolve));
    clearTimeout(late);
    expect(code, said).toBe(0);
    return said.trim();
  } finally {
    await rm(home, { recursive: true });
  }
}

describe('a server that renders', () => {
  it('opens nothing, and is kept from ending by nothing', async () => {
    const asked: string[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.end('{}');
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const page = `
      import { StrictMode } from 'react';
      import { renderToString } from 'react-dom/server';
      import { TidingsProvider, useConnection, useSSE } from '@tidings/client/react';
      function Page() {
        const { status } = useConnection();
        const { events } = useSSE({ subscriptions: ['documents.*'] });
        return <p>{status.state} {events.length}</p>;
      }
      console.log(renderToString(<StrictMode><TidingsProvider url={process.env.URL_OF_IT} tenant="acme"><Page /></TidingsProvider></StrictMode>));
    `;
    const said = await run(page, { URL_OF_IT: `http://127.0.0.1:${(server.address() as AddressInfo).port}` });
    server.close();
    expect(said).toMatch(/^<p>connecting.*0<\/p>$/);
    expect(asked).toEqual([]);
  }, 60_000);
});

describe('a program in Node', () => {
  let postgres: Postgres;
  let bridge: Bridge;

  beforeAll(async () => {
    postgres = await startPostgres();
    tidings(postgres.url, 'migrate');
    bridge = await Bridge.start(postgres.url);
  }, 60_000);

  afterAll(async () => {
    await bridge?.stop();
    await postgres?.stop();
  });

  /** Says the status and one event, then closes and is done. */
  const program = (imports: string, options: string) => `
    import { connect } from '@tidings/client';
    ${imports}
    const connection = connect({ url: process.env.URL_OF_IT, tenant: 'acme', getToken: () => process.env.TOKEN, ${options} });
    const orders = connection.subscribe({ types: ['order.*'] });
    void orders.ready.then(() => connection.request('POST', '/v1/tenants/acme/events', { type: 'order.made', data: { n: 1 } }));
    for await (const event of orders) {
      const { state, transport, shared, leads } = connection.status;
      console.log(JSON.stringify([event.data.n, state, transport, shared, leads]));
      break;
    }
    connection.close();
  `;

  const said = (code: string) => run(code, { URL_OF_IT: bridge.url, TOKEN: token({ sub: 'shop', tenants: ['acme'], role: 'service' }) });

  it('gets events without a WebSocket, shares with nobody, and ends when it has closed', async () => {
    const without = `delete globalThis.WebSocket;`;
    expect(JSON.parse(await said(program(without, '')))).toEqual([1, 'connected', 'sse', false, true]);
  }, 60_000);

  it('gets events over the WebSocket that it is given', async () => {
    expect(JSON.parse(await said(program(`import WebSocket from 'ws';`, 'WebSocket')))).toEqual([1, 'connected', 'websocket', false, true]);
  }, 60_000);

  it('does nothing by the import alone', async () => {
    expect(await said(`import * as client from '@tidings/client'; console.log(typeof client.connect);`)).toBe('function');
  }, 60_000);
});

