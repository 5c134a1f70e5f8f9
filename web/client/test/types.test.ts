/** The map that `tidings triggers types` writes, from the tables of a demo: as committed, and as a program uses it. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';

const web = fileURLToPath(new URL('../../', import.meta.url));
const binary = process.env['TIDINGS_BINARY'] ?? join(web, '../target/debug/tidings');
const START_MS = 90_000;
const run = promisify(execFile);

let demo: ChildProcess;
let folder: string;
let database: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tidings-types-'));
  demo = spawn(binary, ['demo', '--no-traffic', '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'inherit'] });
  database = await new Promise((resolve, reject) => {
    let url = '';
    demo.once('error', reject);
    demo.once('exit', (code) => reject(new Error(`the demo ended with ${code}; build it: cargo build`)));
    createInterface({ input: demo.stdout! }).on('line', (line) => {
      url ||= /psql '([^']+)'/.exec(line)?.[1] ?? '';
      if (line.startsWith('ready')) resolve(url);
    });
  });
}, START_MS);

afterAll(async () => {
  const ended = new Promise((resolve) => demo.once('close', resolve));
  demo.kill('SIGINT');
  await ended;
  await rm(folder, { recursive: true });
}, START_MS);

const types = (...flags: string[]) => run(binary, ['triggers', 'types', ...flags], { env: { ...process.env, DATABASE_URL: database } });

/** What tsc says of a program beside the map. */
async function compile(program: string): Promise<string> {
  const path = join(folder, 'program.ts');
  await writeFile(path, `import type { EventsOf } from '${web}client/src/event';\nimport type { TidingsEvents } from './events';\n${program}`);
  const flags = ['--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck', '--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022', '--types', ''];
  return run(join(web, 'node_modules/.bin/tsc'), [...flags, path]).then(
    () => '',
    (error: { stdout: string }) => error.stdout,
  );
}

it('is committed as the reference tables have it', async () => {
  await expect(types('--check', join(web, 'pages/events.ts'))).resolves.toMatchObject({ stderr: '' });
});

it('lets a program narrow events by their type, and refuses what no row has', async () => {
  await types('--out', join(folder, 'events.ts'));
  const program = `
    export function told(event: EventsOf<TidingsEvents, 'documents.*' | 'notifications.seen'>): string | null {
      if (event.type === 'notifications.seen') return String(event.data.seen);
      return event.data.status === 'failed' ? event.data.stage : event.data.name;
    }`;
  expect(await compile(program)).toBe('');
  expect(await compile(program.replace("'failed'", "'broken'"))).toContain('TS2367');
  expect(await compile(program.replace('.data.name', '.data.title'))).toContain('TS2339');
}, START_MS);
