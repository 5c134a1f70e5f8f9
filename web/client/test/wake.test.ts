/** What a browser does to a page: no network, put away, asleep. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import WebSocketOfNode from 'ws';
import { connect, type Connection, type TransportName } from '../src/index';
// There beforehand, since time does not wait here for files to be loaded.
import '../src/detour';
import '../src/websocket';
import '../src/kept';
import { Faulty } from './faulty';

// A busy machine is slow, not wrong.
vi.setConfig({ testTimeout: 30_000 });

const breath = setImmediate;
let server: Faulty;
let connection: Connection;
let browser: EventTarget;

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] });
  browser = new EventTarget();
  vi.stubGlobal('addEventListener', browser.addEventListener.bind(browser));
  vi.stubGlobal('removeEventListener', browser.removeEventListener.bind(browser));
  server = await new Faulty().listen();
});
afterEach(async () => {
  connection.close();
  await server.close();
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function until(condition: () => boolean): Promise<void> {
  for (let turn = 0; !condition(); turn++) {
    if (turn > 4_000) throw new Error(`never so: ${condition}`);
    await new Promise<void>((resolve) => breath(resolve));
    await vi.advanceTimersByTimeAsync(25);
  }
}

async function begin(transport: TransportName) {
  connection = connect({ url: server.url, tenant: 'acme', transport, random: () => 0, WebSocket: WebSocketOfNode as unknown as typeof WebSocket, getToken: () => 't' });
  const told: string[] = [];
  connection.subscribe({}, { event: ({ id }) => told.push(id!), ready: () => told.push('ready') });
  await until(() => told.length > 0);
  return told;
}
const happens = (name: string, more: object = {}) => browser.dispatchEvent(Object.assign(new Event(name), more));
const opened = (transport: TransportName) => server.asked.filter(({ place }) => place === transport).length;

it.each<TransportName>(['websocket', 'sse'])('is offline without a network, and goes on from its cursor with one, over %s', async (transport) => {
  const told = await begin(transport);
  happens('offline');
  expect(connection.status).toMatchObject({ state: 'offline', reason: 'offline', retryAt: null });
  await until(() => server.streams.size === 0);
  server.emit();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(opened(transport)).toBe(1);
  happens('online');
  await until(() => told.includes('e1'));
  expect(told).toEqual(['ready', 'ready', 'e1']);
});

it.each<TransportName>(['websocket', 'sse'])('closes when the page is put away and opens when it is shown again, over %s', async (transport) => {
  const told = await begin(transport);
  happens('pagehide');
  await until(() => server.streams.size === 0);
  server.emit();
  happens('pageshow', { persisted: true });
  await until(() => told.includes('e1'));
  expect(connection.status.state).toBe('connected');
});

it.each<TransportName>(['websocket', 'sse'])('keeps a connection that has outlived a sleep, over %s', async (transport) => {
  server.heartbeatMs = 2_000;
  const told = await begin(transport);
  vi.setSystemTime(Date.now() + 3_600_000);
  server.emit();
  await until(() => told.includes('e1'));
  await vi.advanceTimersByTimeAsync(4_000);
  await until(() => connection.status.state === 'connected');
  expect(opened(transport)).toBe(1);
});

it.each<TransportName>(['websocket', 'sse'])('gives one up soon that has not, over %s', async (transport) => {
  server.heartbeatMs = 300_000;
  server.fault = (place) => (place === transport ? 'silent' : null);
  const told = await begin(transport);
  server.fault = () => null;
  server.emit();
  const woke = Date.now() + 3_600_000;
  vi.setSystemTime(woke);
  await until(() => told.includes('e1'));
  expect(Date.now() - woke).toBeLessThan(15_000);
});
