// Shows the pages while they are written, against any server: `npm run pages -- --server http://127.0.0.1:8080 [--listen 127.0.0.1:8090]`.
// Everything but the pages is handed to that server, WebSockets and sign-in links too, so that to the browser all is one origin, as in the binary.
import { context } from 'esbuild';
import { createServer, request as httpRequest } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { parseArgs } from 'node:util';
import { addresses, bundle, documentOf } from './bundle.mjs';

const { values } = parseArgs({ options: { server: { type: 'string', default: 'http://127.0.0.1:8080' }, listen: { type: 'string', default: '127.0.0.1:8090' } } });
const server = new URL(values.server);
const [, host, port] = values.listen.match(/^(.*):(\d+)$/) ?? [null, '127.0.0.1', values.listen];

// Built anew at each request for a script: esbuild remembers what has not changed, and a file that does not compile says so in the terminal.
const built = await context({ ...bundle, minify: false, sourcemap: 'inline' });
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; font-src 'self'; media-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const kinds = { js: 'text/javascript', css: 'text/css' };

const listening = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url, 'http://here');
  const page = Object.keys(addresses).find((name) => addresses[name] === pathname);
  try {
    // A link with a ticket is the server's: it makes a cookie of it and sends the browser back here.
    if (page && !searchParams.has('ticket')) {
      const html = await documentOf(page);
      response.writeHead(200, { 'content-type': 'text/html; charset=utf-8', 'content-security-policy': policy, 'cache-control': 'no-store' }).end(html);
    } else if (pathname.startsWith('/assets/')) {
      const name = pathname.slice('/assets/'.length);
      const { outputFiles } = await built.rebuild();
      const file = outputFiles.find(({ path }) => path.endsWith(`/${name}`));
      response.writeHead(file ? 200 : 404, { 'content-type': `${kinds[name.split('.').pop()] ?? 'text/plain'}; charset=utf-8`, 'cache-control': 'no-store' }).end(file?.text);
    } else forward(request, response);
  } catch {
    response.writeHead(500).end();  // esbuild has said why
  }
});

/** As if the browser had asked the server itself: its host, and its origin where the page's own was meant. */
function headersFor(request) {
  const { origin, ...headers } = request.headers;
  return { ...headers, host: server.host, ...(origin && { origin: origin === `http://${request.headers.host}` ? server.origin : origin }) };
}

function ask(request, more = {}) {
  const send = server.protocol === 'https:' ? httpsRequest : httpRequest;
  return send(new URL(request.url, server), { method: request.method, headers: headersFor(request), ...more });
}

function forward(request, response) {
  const asked = ask(request);
  asked.on('response', (answer) => {
    const headers = { ...answer.headers };
    // This server speaks plain http, where a secure cookie would be dropped.
    if (headers['set-cookie']) headers['set-cookie'] = headers['set-cookie'].map((cookie) => cookie.replace(/; *secure/i, ''));
    response.writeHead(answer.statusCode, headers);
    answer.pipe(response);
  });
  asked.on('error', () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
  response.on('close', () => asked.destroy());
  request.pipe(asked);
}

listening.on('upgrade', (request, socket, head) => {
  const asked = ask(request);
  const raw = (answer) => [`HTTP/1.1 ${answer.statusCode} ${answer.statusMessage}`, ...pairs(answer.rawHeaders).map(([name, value]) => `${name}: ${value}`), '', ''].join('\r\n');
  asked.on('upgrade', (answer, other, first) => {
    socket.write(raw(answer));
    other.unshift(first);
    other.pipe(socket).pipe(other);
    other.on('error', () => socket.destroy());
    socket.on('error', () => other.destroy());
    socket.on('close', () => other.destroy());
  });
  asked.on('response', (answer) => {
    socket.write(raw(answer));
    answer.pipe(socket);
  });
  asked.on('error', () => socket.destroy());
  asked.end(head);
});

const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, at) => [flat[2 * at], flat[2 * at + 1]]);

listening.listen(Number(port), host, () => {
  const here = `http://${host}:${listening.address().port}`;
  console.log(`${server.origin} is shown at`);
  for (const address of Object.values(addresses)) console.log(`  ${here}${address}`);
  console.log(`A sign-in link works here too: put ${here} in place of ${server.origin}.`);
});
