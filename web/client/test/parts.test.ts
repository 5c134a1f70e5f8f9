/** Parts of the package that are loaded when they are wanted, and are not there: after a deployment, or without a network. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import WebSocketOfNode from 'ws';
import type { Connection, Options } from '../src/index';
import { Faulty } from './faulty';

vi.setConfig({ testTimeout: 30_000 });

let server: Faulty;
let connection: Connection;
let connect: (options: Options) => Connection;

beforeEach(async () => {
  // A part that one test has loaded is not there yet for the next.
  vi.resetModules();
  ({ connect } = await import('../src/index'));
  server = await new Faulty().listen();
});
afterEach(async () => {
  connection.close();
  await server.close();
  for (const part of ['share', 'within', 'detour', 'kept']) vi.doUnmock(`../src/${part}`);
  vi.unstubAllGlobals();
});

const missing = (part: string) => {
  let asked = 0;
  vi.doMock(`../src/${part}`, () => {
    asked += 1;
    throw new Error('not there');
  });
  return () => asked;
};
const client = (options: Options = {}) =>
  (connection = connect({ url: server.url, tenant: 'acme', getToken: () => 'token', random: () => 0, WebSocket: WebSocketOfNode as unknown as typeof WebSocket, ...options }));
const until = (condition: () => boolean) => vi.waitFor(() => expect(condition()).toBe(true), { timeout: 20_000, interval: 20 });

it('connects by itself where what shares is missing', async () => {
  const asked = missing('share');
  vi.stubGlobal('document', new EventTarget());
  vi.stubGlobal('navigator', { locks: {} });
  const told: string[] = [];
  client().subscribe({}, { event: ({ id }) => told.push(id!), ready: () => told.push('ready') });
  expect(connection.status).toMatchObject({ shared: false, leads: false });
  await until(() => told.includes('ready'));
  server.emit();
  await until(() => told.includes('e1'));
  expect(told).toEqual(['ready', 'e1']);
  expect(connection.status).toMatchObject({ state: 'connected', transport: 'websocket', shared: false, leads: true });
  expect(asked()).toBe(1);
});

it('tries again to go round, and loses nothing, where that is missing for a while', async () => {
  const asked = missing('detour');
  server.emit();
  const told: string[] = [];
  client({ transport: 'sse' }).subscribe({ after: 'c0' }, { event: ({ id }) => told.push(id!) });
  await until(() => asked() > 0 && connection.status.retryAt !== null);
  expect(connection.status).toMatchObject({ state: 'connecting', transport: 'sse', reason: 'unreachable' });
  vi.doUnmock('../src/detour');
  server.emit();
  await until(() => told.includes('e2'));
  expect(told).toEqual(['e1', 'e2']);
});

it('tries again to open a WebSocket, and loses nothing, where that is missing for a while', async () => {
  // It is asked for twice at the same time, of which a mocked module fails only one: so what waits for it fails.
  let there = false;
  vi.doMock('../src/within', async (original) => {
    const real = await original<typeof import('../src/within')>();
    const within: typeof real.within = async (limitMs, awaited) => {
      const part = await real.within(limitMs, awaited);
      if (!there && Object(part).websocket) throw new Error('not there');
      return part;
    };
    return { ...real, within };
  });
  vi.resetModules();
  ({ connect } = await import('../src/index'));
  server.emit();
  const told: string[] = [];
  client().subscribe({ after: 'c0' }, { event: ({ id }) => told.push(id!) });
  await until(() => connection.status.retryAt !== null);
  expect(connection.status).toMatchObject({ state: 'connecting', reason: 'unreachable' });
  there = true;
  server.emit();
  await until(() => told.includes('e2'));
  expect(told).toEqual(['e1', 'e2']);
  expect(connection.status.transport).toBe('websocket');
});

it('goes on with the others where one cannot catch up for a while', async () => {
  const asked = missing('detour');
  server.emit();
  const told: string[] = [];
  client().subscribe({}, { event: ({ id }) => told.push(`live ${id}`), ready: () => told.push('ready') });
  await until(() => told.includes('ready'));
  const late: string[] = [];
  connection.subscribe({ after: 'c0' }, { event: ({ id }) => late.push(id!) });
  await until(() => asked() > 0);
  server.emit();
  await until(() => told.includes('live e2'));
  expect(connection.status.state).toBe('connected');
  vi.doUnmock('../src/detour');
  await until(() => late.includes('e2'));
  expect(late).toEqual(['e1', 'e2']);
  expect(told).toEqual(['ready', 'live e2']);
});

it('begins where it is told to where what keeps cursors is missing', async () => {
  const asked = missing('kept');
  server.emit();
  const told: string[] = [];
  client().subscribe({ name: 'list', after: 'c0' }, { event: ({ id }) => told.push(id!) });
  await until(() => told.includes('e1'));
  expect(asked()).toBe(1);
});
