/** The client against a server, a proxy and a network that do wrong. Time runs as fast as the sockets allow. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import WebSocketOfNode from 'ws';
import { connect, Problem, type Connection, type Options, type TidingsEvent, type TransportName } from '../src/index';
// There beforehand, since time does not wait here for files to be loaded.
import '../src/detour';
import '../src/websocket';
import '../src/kept';
import { Faulty, type Fault, type Place } from './faulty';

// A busy machine is slow, not wrong.
vi.setConfig({ testTimeout: 30_000 });

const breath = setImmediate;
const clock = performance.now.bind(performance);
let server: Faulty;
const open: Connection[] = [];

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] });
  server = await new Faulty().listen();
});
afterEach(async () => {
  open.splice(0).forEach((connection) => connection.close());
  await server.close();
  vi.useRealTimers();
});

/** Lets sockets work and time go by until it is so. */
async function until(condition: () => boolean, stepMs = 25): Promise<void> {
  const end = clock() + 10_000;
  while (!condition()) {
    if (clock() > end) throw new Error(`never so: ${condition}`);
    for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => breath(resolve));
    await vi.advanceTimersByTimeAsync(stepMs);
  }
}
const pass = (ms: number) => {
  const end = Date.now() + ms;
  return until(() => Date.now() >= end);
};

function client(options: Partial<Options> = {}): Connection {
  const connection = connect({ url: server.url, tenant: 'acme', getToken: () => 'token', random: () => 0, WebSocket: WebSocketOfNode as unknown as typeof WebSocket, ...options });
  open.push(connection);
  return connection;
}

/** What a subscription was told, in order. */
function record(connection: Connection, filter: Parameters<Connection['subscribe']>[0] = {}) {
  const told: string[] = [];
  const subscription = connection.subscribe(filter, {
    event: (event: TidingsEvent) => told.push(event.id ?? `live ${event.type}`),
    reset: ({ reason }) => told.push(`reset ${reason}`),
    ready: ({ resumed, again }) => told.push(`ready${again ? ' again' : ''}${resumed ? ' resumed' : ''}`),
    error: ({ code }) => told.push(`error ${code}`),
  });
  return { told, subscription, events: () => told.filter((line) => /^e\d+$/.test(line)) };
}

const each = describe.each<TransportName>(['websocket', 'sse', 'poll']);

each('over %s', (transport) => {
  const place: Place = transport === 'poll' ? 'page' : transport;

  it('goes on from its cursor when the connection is cut', async () => {
    const connection = client({ transport });
    const { told, subscription } = record(connection);
    await until(() => told.length > 0);
    server.emit();
    await until(() => told.includes('e1') && server.streams.size > 0);
    [...server.streams].forEach((stream) => stream.cut());
    await until(() => connection.status.retryAt !== null);
    server.emit();
    server.emit();
    await until(() => told.includes('e3'));
    expect(told).toEqual(['ready', 'e1', 'ready again resumed', 'e2', 'e3']);
    expect(subscription.cursor).toBe(transport === 'poll' ? 'c3' : 'e3');
  });

  it('opens nothing before the first subscription, and closes when the last has gone', async () => {
    const connection = client({ transport });
    await pass(100);
    expect(server.asked).toEqual([]);
    const { told, subscription } = record(connection);
    await until(() => told.length > 0 && server.streams.size > 0);
    subscription.close();
    await until(() => server.streams.size === 0);
    // What was on its way when it closed may still arrive.
    await pass(100);
    const asked = server.asked.length;
    await pass(5_000);
    expect(server.asked.length).toBe(asked);
  });

  it('asks for a new token once when the one it has is refused, and stops when that is refused too', async () => {
    const reasons: string[] = [];
    server.fault = () => ({ status: 401, code: 'token_expired' });
    const connection = client({ transport, getToken: ({ reason }) => (reasons.push(reason), 'token') });
    const { told, subscription } = record(connection);
    await until(() => connection.status.state === 'closed');
    expect(connection.status.reason).toBe('unauthorised');
    expect(reasons).toEqual(['connect', 'refused']);
    expect(told).toEqual(['error token_expired']);
    await expect(subscription.ready).rejects.toBeInstanceOf(Problem);
  });

  it('goes on with the new token where that is accepted', async () => {
    let refused = 0;
    server.fault = () => (refused++ === 0 ? { status: 401, code: 'token_expired' } : null);
    const { told } = record(client({ transport, getToken: ({ reason }) => (reason === 'refused' ? 'fresh' : 'stale') }));
    await until(() => told.length > 0);
    expect(told).toEqual(['ready']);
    expect(server.asked.filter(({ place }) => place !== 'websocket').at(-1)!.authorization).toBe('Bearer fresh');
  });

  it('waits as long as Retry-After says', async () => {
    server.fault = (at) => (at === 'page' || at === 'sse' || at === 'ticket' ? { status: 429, code: 'too_many_connections', retryAfter: 7 } : null);
    const connection = client({ transport });
    const { told } = record(connection);
    await until(() => connection.status.retryAt !== null);
    expect(connection.status.reason).toBe('too_many_connections');
    expect(connection.status.retryAt! - Date.now()).toBeGreaterThan(6_500);
    server.fault = () => null;
    const asked = server.asked.length;
    await pass(6_000);
    expect(server.asked.length).toBe(asked);
    await until(() => told.length > 0);
  });

  it('goes on after a proxy has answered in place of the server', async () => {
    let wrong = 3;
    server.fault = () => (wrong-- > 0 ? 'html' : null);
    const { told } = record(client({ transport }));
    await until(() => told.includes('ready'));
    expect(told).toEqual(['ready']);
  });

  it('tells what cannot be told any more, before anything newer', async () => {
    for (let count = 0; count < 5; count++) server.emit();
    server.oldest = 3;
    const connection = client({ transport });
    const { told } = record(connection, { after: 'c1' });
    await until(() => told.some((line) => line.startsWith('reset')));
    server.emit();
    await until(() => told.includes('e6'));
    expect(told).toEqual(['ready', 'reset cursor_unknown', 'e6']);
  });

  it('ends when it is not to come back', async () => {
    const connection = client({ transport });
    const { told } = record(connection);
    await until(() => told.length > 0);
    if (transport === 'poll') return;
    [...server.streams].forEach((stream) => stream.end(4511, 'revoked'));
    await until(() => connection.status.state === 'closed');
    expect(connection.status.reason).toBe('revoked');
    expect(told.at(-1)).toBe('error revoked');
  });

  it('passes what is live on, every time', async () => {
    if (transport === 'poll') return;
    const { told } = record(client({ transport }));
    await until(() => told.length > 0);
    server.emit({ type: 'chat.typing', live: true });
    server.emit({ type: 'chat.typing', live: true });
    await until(() => told.length === 3);
    expect(told).toEqual(['ready', 'live chat.typing', 'live chat.typing']);
  });

  it('passes on once what comes twice', async () => {
    if (transport === 'poll') return;
    server.fault = (at) => (at === place ? 'twice' : null);
    const { told } = record(client({ transport }));
    await until(() => told.length > 0);
    for (let count = 0; count < 4; count++) server.emit();
    await until(() => told.includes('e4'));
    expect(told).toEqual(['ready', 'e1', 'e2', 'e3', 'e4']);
  });

  it('notices that the other side has died', async () => {
    server.heartbeatMs = 10_000;
    let mute = true;
    server.fault = (at) => (at === place && mute ? (transport === 'poll' ? 'hang' : 'silent') : null);
    const connection = client({ transport });
    const { told } = record(connection, { after: 'c0' });
    if (transport !== 'poll') await until(() => told.length > 0);
    await until(() => server.asked.some((asked) => asked.place === place));
    mute = false;
    server.emit();
    await until(() => told.includes('e1'));
    expect(told.filter((line) => line === 'e1')).toEqual(['e1']);
  });
});

describe('of transports', () => {
  it.each<TransportName>(['websocket', 'sse', 'poll'])('says to the server as much of the client\'s name as that takes, over %s', async (transport) => {
    const { told } = record(client({ transport, clientName: `Büro\n${'x'.repeat(99)}` }));
    await until(() => told.length > 0);
    const { url } = server.asked.at(-1)!;
    expect(new URL(url, server.url).searchParams.get('client')).toBe(`Bro${'x'.repeat(61)}`);
  });

  it.each<[string, Fault, Fault | null, TransportName]>([
    ['a proxy that knows no WebSocket', 'html', null, 'sse'],
    ['a proxy that lets a WebSocket hang', 'hang', null, 'sse'],
    ['a proxy that opens a WebSocket and passes nothing', 'buffer', null, 'sse'],
    ['a proxy that holds back streams as well', 'refuse', 'buffer', 'poll'],
    ['a network in which only short requests work', 'refuse', 'refuse', 'poll'],
  ])('takes the next one behind %s, and loses nothing', async (_, websocket, sse, expected) => {
    server.emit();
    server.fault = (at) => (at === 'websocket' ? websocket : at === 'sse' ? sse : null);
    const connection = client();
    const { told } = record(connection, { after: 'c0' });
    server.emit();
    await until(() => told.includes('e2'));
    expect(connection.status).toMatchObject({ transport: expected, state: expected === 'poll' ? 'polling' : 'connected' });
    expect(told).toEqual(['ready resumed', 'e1', 'e2']);
  });

  it('goes back to the better one when that works again, without a pause', async () => {
    let blocked = true;
    server.fault = (at) => (at === 'websocket' && blocked ? 'refuse' : null);
    const connection = client();
    const { told } = record(connection);
    await until(() => connection.status.transport === 'sse' && connection.status.state === 'connected');
    const states: string[] = [];
    connection.onStatus(({ state }) => states.push(state));
    blocked = false;
    await until(() => connection.status.transport === 'websocket');
    server.emit();
    await until(() => told.includes('e1'));
    expect(states.every((state) => state === 'connected')).toBe(true);
    expect(told).toEqual(['ready', 'e1']);
  });

  it('takes only what the server offers', async () => {
    server.transports = ['poll'];
    const connection = client();
    const { told } = record(connection);
    await until(() => told.length > 0);
    expect(connection.status.transport).toBe('poll');
  });
});

describe('of subscriptions', () => {
  it('begins several at different places and sends each what it has not seen', async () => {
    for (let count = 0; count < 9; count++) server.emit({ type: count % 2 ? 'a.odd' : 'a.even' });
    const connection = client();
    const one = record(connection, { after: 'c2' });
    const two = record(connection, { after: 'c7', types: ['a.odd'] });
    const three = record(connection, {});
    await until(() => three.told.length > 0);
    server.emit({ type: 'a.odd' });
    await until(() => [one, two, three].every(({ told }) => told.includes('e10')));
    const late = record(connection, { after: 'c5', types: ['a.even'] });
    const new_ = record(connection, { types: ['b.*'] });
    await until(() => late.told.length > 2 && new_.told.length > 0);
    server.emit({ type: 'a.even' });
    server.emit({ type: 'b.x' });
    await until(() => late.told.includes('e11') && new_.told.includes('e12') && one.told.includes('e12'));
    expect(one.events()).toEqual(['e3', 'e4', 'e5', 'e6', 'e7', 'e8', 'e9', 'e10', 'e11', 'e12']);
    expect(two.events()).toEqual(['e8', 'e10']);
    expect(three.events()).toEqual(['e10', 'e11', 'e12']);
    expect(late.events()).toEqual(['e7', 'e9', 'e11']);
    expect(new_.events()).toEqual(['e12']);
    expect(one.told.filter((line) => line.startsWith('ready'))).toHaveLength(1);
  });

  it('holds what is new while older events are still being fetched', async () => {
    for (let count = 0; count < 8; count++) server.emit();
    let pages = 0;
    let release = () => {};
    const hold = new Promise<void>((resolve) => (release = resolve));
    // Three pages for the first; then one for the second, which is on its way while the link brings more.
    server.fault = (at) => (at === 'page' && ++pages === 4 ? { hold } : null);
    const connection = client();
    const one = record(connection, { after: 'c0' });
    const two = record(connection, { after: 'c4' });
    await until(() => pages === 4);
    server.emit();
    await until(() => one.told.includes('e9'));
    expect(two.told.includes('e9')).toBe(false);
    release();
    await until(() => two.told.includes('e9'));
    server.emit();
    await until(() => one.told.includes('e10') && two.told.includes('e10'));
    expect(one.events()).toEqual(['e1', 'e2', 'e3', 'e4', 'e5', 'e6', 'e7', 'e8', 'e9', 'e10']);
    expect(two.events()).toEqual(['e5', 'e6', 'e7', 'e8', 'e9', 'e10']);
  });

  it('does not bring a latecomer what its list had shown before the stream did', async () => {
    const connection = client();
    const one = record(connection);
    await until(() => one.told.length > 0);
    server.lagging = true;
    server.emit();
    let asked = false;
    let release = () => {};
    const hold = new Promise<void>((resolve) => (release = resolve));
    server.fault = (at) => (at === 'page' && !asked && (asked = true) ? { hold } : null);
    const two = record(connection, { after: 'c1' });
    await until(() => asked);
    server.deliver(0);
    await until(() => one.told.includes('e1'));
    server.lagging = false;
    server.emit();
    await until(() => one.told.includes('e2'));
    release();
    await until(() => two.told.includes('e2'));
    server.emit();
    await until(() => two.told.includes('e3'));
    // Until it goes along with the link.
    await pass(1_000);
    server.emit();
    await until(() => two.told.includes('e4'));
    expect(one.told).toEqual(['ready', 'e1', 'e2', 'e3', 'e4']);
    expect(two.told).toEqual(['ready resumed', 'e2', 'e3', 'e4']);
  });

  it('does not bring a latecomer what its list had shown when a stream that lagged has ended', async () => {
    const connection = client();
    const one = record(connection);
    await until(() => one.told.length > 0);
    server.lagging = true;
    server.emit();
    server.emit();
    const two = record(connection, { after: 'c1' });
    await until(() => two.told.includes('e2'));
    // Until it goes along with the link.
    await pass(1_000);
    server.lagging = false;
    [...server.streams].forEach((stream) => stream.cut());
    await until(() => one.told.includes('e2'));
    server.emit();
    await until(() => one.told.includes('e3') && two.told.includes('e3'));
    expect(one.events()).toEqual(['e1', 'e2', 'e3']);
    expect(two.events()).toEqual(['e2', 'e3']);
  });

  it('shares one connection among those of a tenant', async () => {
    const connection = client();
    const all = Array.from({ length: 20 }, (_, index) => record(connection, { types: [`t${index}.*`] }));
    await until(() => all.every(({ told }) => told.length > 0));
    expect(server.asked.filter(({ place }) => place === 'websocket')).toHaveLength(1);
  });

  it('is iterated until it is closed', async () => {
    const subscription = client().subscribe({});
    const got: string[] = [];
    const done = (async () => {
      for await (const event of subscription) {
        got.push(event.id!);
        if (got.length === 2) subscription.close();
      }
    })();
    await until(() => server.streams.size > 0);
    server.emit();
    server.emit();
    let over = false;
    void done.then(() => (over = true));
    await until(() => over);
    expect(got).toEqual(['e1', 'e2']);
  });

  it('keeps for its iterator what comes before that asks', async () => {
    const connection = client();
    const subscription = connection.subscribe({});
    const other = record(connection);
    await until(() => other.told.includes('ready'));
    await subscription.ready;
    server.emit();
    server.emit();
    await until(() => other.told.includes('e2'));
    const got: string[] = [];
    for await (const event of subscription) {
      got.push(event.id!);
      if (got.length === 2) break;
    }
    expect(got).toEqual(['e1', 'e2']);
  });

  it('ends with its signal', async () => {
    const control = new AbortController();
    const { subscription } = record(client(), { signal: control.signal });
    await until(() => server.streams.size > 0);
    control.abort();
    await until(() => server.streams.size === 0);
    await expect(subscription.ready).resolves.toBeTruthy();
  });

  it('goes on when a handler throws', async () => {
    const errors = vi.spyOn(console, 'error').mockImplementation(() => {});
    const connection = client();
    connection.subscribe({}, {
      event: () => {
        throw new Error('a page went wrong');
      },
    });
    const { told } = record(connection);
    await until(() => told.length > 0);
    server.emit();
    await until(() => told.includes('e1'));
    expect(errors).toHaveBeenCalled();
    errors.mockRestore();
  });

  it('keeps its cursor across a reload, and forgets it when the connection is closed', async () => {
    const stored = new Map<string, string>();
    const storage = { getItem: (key: string) => stored.get(key) ?? null, setItem: (key: string, value: string) => void stored.set(key, value), removeItem: (key: string) => void stored.delete(key) };
    const before = record(client({ storage }), { name: 'list', after: 'c0' });
    server.emit();
    await until(() => before.told.includes('e1'));
    await until(() => stored.size > 0);
    expect([...stored.keys()][0]).toContain('ann');
    server.emit();
    const after = client({ storage });
    const { told } = record(after, { name: 'list', after: 'c0' });
    await until(() => told.includes('e2'));
    expect(told).toEqual(['ready resumed', 'e2']);
    after.close();
    expect(stored.size).toBe(0);
  });
});

describe('of tokens', () => {
  const jwt = (exp: number) => `h.${btoa(JSON.stringify({ sub: 'ann', exp })).replace(/=/g, '')}.s`;

  it('replaces one in place before it runs out', async () => {
    const connection = client({ transport: 'websocket', getToken: () => jwt(Date.now() / 1000 + 120) });
    const { told } = record(connection);
    await until(() => told.length > 0);
    await until(() => server.heard.some(({ type }) => type === 'auth'), 500);
    expect(told).toEqual(['ready']);
    expect(server.asked.filter(({ place }) => place === 'websocket')).toHaveLength(1);
  });

  it('opens a new stream with the new one, and loses nothing', async () => {
    const connection = client({ transport: 'sse', getToken: () => jwt(Date.now() / 1000 + 120) });
    const { told } = record(connection);
    await until(() => told.length > 0);
    await until(() => server.asked.filter(({ place }) => place === 'sse').length === 2, 500);
    server.emit();
    await until(() => told.includes('e1'));
    expect(told).toEqual(['ready', 'e1']);
  });

  it.each<TransportName>(['websocket', 'sse'])('comes back with a new one when it has run out over %s', async (transport) => {
    const reasons: string[] = [];
    const { told } = record(client({ transport, getToken: ({ reason }) => (reasons.push(reason), 'opaque') }));
    await until(() => told.length > 0);
    [...server.streams].forEach((stream) => stream.end(4510, 'token_expired'));
    server.emit();
    await until(() => told.includes('e1'));
    expect(reasons).toEqual(['connect', 'expired']);
  });

  it('stops where a cookie has run out: there is nobody to ask', async () => {
    const connect = { transport: 'sse' as const };
    const connection = client(connect);
    const cookie = client({ ...connect, getToken: undefined as never });
    const { told } = record(cookie);
    await until(() => told.length > 0);
    [...server.streams].forEach((stream) => stream.end(4510, 'token_expired'));
    await until(() => cookie.status.state === 'closed');
    expect(cookie.status.reason).toBe('token_expired');
    connection.close();
  });

  it('asks again when nobody has answered for a while', async () => {
    let asked = 0;
    const connection = client({ getToken: () => (asked++ === 0 ? new Promise<never>(() => {}) : 'token') });
    const { told } = record(connection);
    await until(() => connection.status.retryAt !== null, 500);
    expect(connection.status.reason).toBe('unreachable');
    await until(() => told.length > 0);
    expect(told).toEqual(['ready']);
    expect(asked).toBeGreaterThan(1);
  });
});

describe('of commands', () => {
  it('go over the socket where it is open, else to their routes', async () => {
    const connection = client();
    await connection.command('chat.end', { session: 's' }).catch(() => {});
    expect(server.asked.at(-1)!.url).toBe('/v1/tenants/acme/chat/sessions/s/end');
    const { told } = record(connection);
    await until(() => told.length > 0);
    await expect(connection.command('chat.end', { session: 's' })).resolves.toEqual({ name: 'chat.end' });
  });

  it('says on a new connection again what this page looks at', async () => {
    const connection = client();
    const { told } = record(connection);
    await until(() => told.length > 0);
    await connection.command('chat.view', { session: 's' });
    [...server.streams].forEach((stream) => stream.cut());
    await until(() => server.heard.filter(({ name }) => name === 'chat.view').length === 2);
  });
});

/** A small generator, so that a run that fails can be run again by its seed. */
function dice(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

describe('whatever goes wrong', () => {
  it.each(Array.from({ length: 25 }, (_, seed) => seed + 1))('each subscription sees each of its events once and in order (seed %i)', async (seed) => {
    const roll = dice(seed * 7_919);
    server.heartbeatMs = 2_000;
    let calm = false;
    const faults: (Fault | null)[] = [null, null, null, 'refuse', 'hang', 'buffer', 'html', 'cut', 'cut', 'silent', { status: 503, code: 'draining', retryAfter: 1 }, { status: 429, code: 'too_many_requests', retryAfter: 2 }, { bye: 1001, reason: 'draining' }, { bye: 4008, reason: 'slow' }, { bye: 4510, reason: 'token_expired' }, 'twice', 'twice', 'twice'];
    server.fault = (place) => {
      if (calm) return null;
      const fault = faults[roll(faults.length)]!;
      return place === 'page' && fault === 'silent' ? null : fault;
    };
    for (let count = 0; count < 5; count++) server.emit({ type: `a.${roll(3)}`, subject: String(roll(2)) });
    const connection = client({ random: () => roll(100) / 100 });
    const all: { from: number; types: string[]; subject: string | undefined; got: ReturnType<typeof record> }[] = [];
    const add = () => {
      const from = roll(server.log.length + 1);
      const types = [['a.*'], ['a.0'], ['a.1', 'a.2'], ['a.2']][roll(4)]!;
      const subject = roll(3) === 0 ? String(roll(2)) : undefined;
      all.push({ from, types, subject, got: record(connection, { after: `c${from}`, types, ...(subject !== undefined && { subject }) }) });
    };
    add();
    add();
    for (let step = 0; step < 40; step++) {
      if (roll(2)) server.emit({ type: `a.${roll(3)}`, subject: String(roll(2)) });
      if (roll(8) === 0) add();
      if (roll(10) === 0) for (const stream of [...server.streams]) roll(2) ? stream.cut() : stream.end(1001, 'draining');
      await pass(roll(3) ? roll(300) : roll(4_000));
    }
    calm = true;
    const wanted = ({ from, types, subject }: (typeof all)[number]) =>
      server.log.filter((event) => event.n > from && types.some((glob) => glob === 'a.*' || glob === event.type) && (subject === undefined || event.subject === subject)).map(({ n }) => `e${n}`);
    await until(() => all.every((each) => each.got.events().length >= wanted(each).length), 200).catch(() => {});
    for (const each of all) expect(each.got.events()).toEqual(wanted(each));
    expect(connection.status.state).not.toBe('closed');
  }, 30_000);
});
