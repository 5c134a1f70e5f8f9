/** An application of somebody's, on an origin of its own, which uses the package from its sources. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { token, type Rights } from './bridge';

const web = fileURLToPath(new URL('../../', import.meta.url));

export interface Application {
  origin: string;
  close(): void;
}

/** Serves `/` with `main.js`, the other scripts beside it, an empty page at `/elsewhere`, and at `/token` a token of whoever is signed in. */
export async function application(rights: Rights, scripts: Record<string, string>): Promise<Application> {
  const alias = { '@tidings/client/react': `${web}client/react/index.ts`, '@tidings/client': `${web}client/src/index.ts` };
  const made = new Map<string, string>();
  for (const [name, code] of Object.entries(scripts)) {
    const { outputFiles } = await build({ stdin: { contents: code, loader: 'tsx', resolveDir: web }, bundle: true, write: false, format: 'esm', jsx: 'automatic', alias, define: { 'process.env.NODE_ENV': '"development"' } });
    made.set(`/${name}`, outputFiles[0]!.text);
  }
  const server = createServer((asked, answer) => {
    const url = asked.url ?? '';
    if (url === '/token') answer.writeHead(200, { 'content-type': 'text/plain' }).end(token(rights));
    else if (made.has(url)) answer.writeHead(200, { 'content-type': 'text/javascript' }).end(made.get(url));
    else if (url === '/elsewhere') answer.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>elsewhere</title>');
    else answer.writeHead(200, { 'content-type': 'text/html' }).end('<!doctype html><title>tab</title><div id="root"></div><script type="module" src="/main.js"></script>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
