/** The real binary, with a PostgreSQL of its own and traffic of three tenants. One for each test file that asks. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const binary = process.env['TIDINGS_BINARY'] ?? join(fileURLToPath(import.meta.url), '../../../../target/debug/tidings');
const START_MS = 90_000;

export interface Server {
  url: string;
  /** Of the demo's service, for tenant acme. */
  token: string;
  /** Of anybody; `claims` as flags of `tidings token`. */
  mint(claims: { sub: string; tenant?: string; role?: string; ttl?: string }): Promise<string>;
  stop(): Promise<void>;
}

const SECRET = 'a secret of the tests, long enough for HS256';

export async function serve(): Promise<Server> {
  const environment = { ...process.env, TIDINGS__AUTH__SECRET: SECRET, RUST_LOG: 'warn' };
  const child = spawn(binary, ['demo', '--listen', '127.0.0.1:0'], { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => (said += text));
  const ended = new Promise<never>((_, reject) => {
    child.once('error', (error) => reject(new Error(`${binary} does not start; build it: cargo build. ${error}`)));
    child.once('exit', (code) => reject(new Error(`the demo ended with ${code}: ${said}`)));
  });
  ended.catch(() => {});
  const ready = new Promise<{ url: string; token: string }>((resolve) => {
    let url = '';
    let token = '';
    createInterface({ input: child.stdout }).on('line', (line) => {
      url ||= /http:\/\/[\d.]+:\d+/.exec(line)?.[0] ?? '';
      token ||= /Bearer ([\w.-]+)/.exec(line)?.[1] ?? '';
      if (line.startsWith('ready')) resolve({ url, token });
    });
  });
  const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error(`the demo is not ready: ${said}`)), START_MS).unref());
  const { url, token } = await Promise.race([ready, ended, late]);
  return {
    url,
    token,
    mint: ({ sub, tenant, role, ttl }) =>
      new Promise((resolve, reject) => {
        const flags = Object.entries({ sub, tenant, role, ttl }).flatMap(([name, value]) => (value === undefined ? [] : [`--${name}`, value]));
        const minting = spawn(binary, ['token', ...flags], { env: environment });
        let text = '';
        minting.stdout.on('data', (piece) => (text += piece));
        minting.once('close', (code) => (code === 0 ? resolve(text.trim()) : reject(new Error(`no token: ${code}`))));
      }),
    stop: () =>
      new Promise((resolve) => {
        child.once('close', () => resolve());
        child.kill('SIGINT');
      }),
  };
}
