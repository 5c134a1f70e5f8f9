/** The real binary, serving a database of these tests. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { end, until } from './postgres';

const root = fileURLToPath(new URL('../../../', import.meta.url));
export const binary = process.env['TIDINGS'] ?? `${process.env['CARGO_TARGET_DIR'] ?? `${root}target`}/debug/tidings`;
export const secret = 'a secret of the tests, long enough for HMAC';

function environment(database: string, settings: Record<string, string> = {}): NodeJS.ProcessEnv {
  return {
    ...process.env,
    DATABASE_URL: database,
    TIDINGS__AUTH__SECRET: secret,
    TIDINGS__RESPONDER__KIND: 'echo',
    TIDINGS__SHUTDOWN__DRAIN: '1s',
    // Tests ask faster than people do.
    TIDINGS__LIMITS__REQUESTS_PER_USER: '100000',
    TIDINGS__LIMITS__FAILURES_PER_ADDRESS: '100000',
    TIDINGS__LIMITS__OPENS_PER_USER: '100000',
    ...settings,
  };
}

/** Runs a command of the binary against a database. */
export function tidings(database: string, ...args: string[]): string {
  if (!existsSync(binary)) throw new Error(`${binary} is not there: cargo build`);
  return execFileSync(binary, args, { cwd: root, env: environment(database), encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
}

export class Bridge {
  private constructor(
    /** Of the pages and the API, without a slash at its end. It stays the same over a restart. */
    readonly url: string,
    private readonly database: string,
    private readonly settings: Record<string, string>,
    private process: ChildProcess | null,
  ) {}

  /** `settings` by their environment names, as `TIDINGS__HTTP__HEARTBEAT`. */
  static async start(database: string, settings: Record<string, string> = {}): Promise<Bridge> {
    const { process, url } = await serve(database, '127.0.0.1:0', settings);
    return new Bridge(url, database, settings, process);
  }

  /** Ends it: in order, or with SIGKILL at once. */
  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    if (this.process) await end(this.process, signal);
    this.process = null;
  }

  /** Starts it again at the same address. */
  async restart(): Promise<void> {
    await this.stop();
    this.process = (await serve(this.database, this.url.replace('http://', ''), this.settings)).process;
  }

  /** A request with a bearer token; throws unless it is answered with 2xx. */
  async request(method: string, path: string, token: string, body?: unknown): Promise<unknown> {
    const response = await fetch(this.url + path, {
      method,
      headers: { authorization: `Bearer ${token}`, accept: 'application/json', ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }
}

async function serve(database: string, listen: string, settings: Record<string, string>): Promise<{ process: ChildProcess; url: string }> {
  const child = spawn(binary, ['serve', '--listen', listen], { cwd: root, env: environment(database, settings), stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => (said += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
  let url = '';
  await until('the bridge is ready', async () => {
    if (child.exitCode !== null) throw new Error(`the bridge ended with ${child.exitCode}: ${said}`);
    url = /listening on (http:\/\/\S+)/.exec(said)?.[1] ?? '';
    return url !== '' && (await fetch(`${url}/readyz`).then((response) => response.ok, () => false));
  });
  return { process: child, url };
}

export interface Rights {
  sub: string;
  /** None: all of them, for an admin. */
  tenants?: string[];
  role?: 'member' | 'service' | 'admin';
  events?: string[];
  /** Seconds from now on; an hour. */
  expiresIn?: number;
}

/** Signs a token as an application would. */
export function token({ sub, tenants, role = 'member', events, expiresIn = 3600 }: Rights): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub, role, iat: now, exp: now + expiresIn, ...(tenants ? { tenant: tenants } : {}), ...(events ? { events } : {}) };
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
