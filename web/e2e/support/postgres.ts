/** A private PostgreSQL of these tests, from the installed server binaries. PostgreSQL refuses root, so then it runs as somebody else. */
import { execFileSync, spawn, type ChildProcess, type SpawnOptions } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Postgres {
  /** A superuser's, of database `postgres`. */
  url: string;
  stop(): Promise<void>;
}

function binaries(): string {
  const given = process.env['PG_BIN'];
  if (given) return given;
  const root = '/usr/lib/postgresql';
  const versions = existsSync(root) ? readdirSync(root).sort((a, b) => Number(b) - Number(a)) : [];
  const found = versions.map((version) => join(root, version, 'bin')).find((bin) => existsSync(join(bin, 'initdb')));
  if (!found) throw new Error('no PostgreSQL server found: install the package postgresql, or set PG_BIN');
  return found;
}

/** Who runs the server: the package's user where it is there, else nobody. */
function somebody(): { uid: number; gid: number } {
  const id = (what: string, name: string) => Number(execFileSync('id', [what, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
  try {
    return { uid: id('-u', 'postgres'), gid: id('-g', 'postgres') };
  } catch {
    return { uid: id('-u', 'nobody'), gid: id('-g', 'nobody') };
  }
}

export async function startPostgres(): Promise<Postgres> {
  const bin = binaries();
  const home = mkdtempSync(join(tmpdir(), 'tidings-e2e-'));
  const who: SpawnOptions = process.getuid?.() === 0 ? somebody() : {};
  if (who.uid !== undefined) chownSync(home, who.uid, who.gid ?? who.uid);
  chmodSync(home, 0o700);
  const data = join(home, 'data');
  execFileSync(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-locale', '--no-sync'], { ...who, cwd: home, stdio: 'pipe' });
  const settings = ['fsync=off', 'max_connections=200', 'listen_addresses=', `unix_socket_directories=${home}`].flatMap((setting) => ['-c', setting]);
  const server = spawn(join(bin, 'postgres'), ['-D', data, ...settings], { ...who, cwd: home, stdio: 'ignore' });
  await until('PostgreSQL accepts connections', () => {
    if (server.exitCode !== null) throw new Error(`PostgreSQL ended with ${server.exitCode}`);
    try {
      execFileSync(join(bin, 'pg_isready'), ['-h', home, '-q']);
      return true;
    } catch {
      return false;
    }
  });
  return {
    url: `postgres://postgres@/postgres?host=${encodeURIComponent(home)}`,
    async stop() {
      await end(server, 'SIGINT');
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** Ends a process that this run started, and waits for it. */
export async function end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill(signal);
  await ended;
}

/** Waits for a condition, at most 30 s. */
export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error(`never came true: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}
