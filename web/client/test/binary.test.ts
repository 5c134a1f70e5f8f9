/** The client and the real binary, over each transport. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import WebSocketOfNode from 'ws';
import { connect, type Connection, type Options, type TidingsEvent, type TransportName } from '../src/index';
import { serve, type Server } from './server';

// A busy machine is slow, not wrong.
vi.setConfig({ testTimeout: 30_000 });

let server: Server;
const open: Connection[] = [];
beforeAll(async () => {
  server = await serve();
}, 120_000);
afterAll(async () => {
  open.forEach((connection) => connection.close());
  await server?.stop();
});

function client(options: Partial<Options> = {}): Connection {
  const connection = connect({ url: server.url, tenant: 'acme', getToken: () => server.token, WebSocket: WebSocketOfNode as unknown as typeof WebSocket, ...options });
  open.push(connection);
  return connection;
}

const until = (condition: () => boolean) => vi.waitFor(() => expect(condition()).toBe(true), { timeout: 20_000, interval: 20 });

let made = 0;
/** An event of its own, and what it was given as id. */
async function publish(connection: Connection, type = 'test.said', subject?: string): Promise<string> {
  const { id } = await connection.request<{ id: string }>('POST', '/v1/tenants/acme/events', { type, subject, data: { number: ++made } });
  return id;
}

describe.each<TransportName>(['websocket', 'sse', 'poll'])('over %s', (transport) => {
  it('brings what is published from then on', async () => {
    const connection = client({ transport });
    const got: TidingsEvent[] = [];
    const subscription = connection.subscribe({ types: ['test.*'] }, { event: (event) => got.push(event) });
    const { resumed, cursor } = await subscription.ready;
    expect(resumed).toBe(false);
    expect(cursor).toBeTruthy();
    const ids = [await publish(connection), await publish(connection), await publish(connection)];
    await until(() => got.length >= 3);
    expect(got.map(({ id }) => id)).toEqual(ids);
    expect(connection.status).toMatchObject({ state: transport === 'poll' ? 'polling' : 'connected', transport });
    connection.close();
  });

  it('brings everything since a cursor, once, to subscriptions that begin at different places', async () => {
    const writer = client({ transport });
    const probe = writer.subscribe({ types: ['test.place'] });
    await probe.ready;
    const ids: string[] = [];
    for (let count = 0; count < 6; count++) ids.push(await publish(writer, 'test.place', count % 2 ? 'odd' : 'even'));
    const connection = client({ transport });
    const got: string[][] = [[], [], [], []];
    const take = (index: number) => ({ event: ({ id }: { id?: string }) => void got[index]!.push(id!) });
    connection.subscribe({ types: ['test.place'], after: ids[0]! }, take(0));
    connection.subscribe({ types: ['test.*'], after: ids[2]! }, take(1));
    const late = connection.subscribe({ types: ['test.place'] }, take(2));
    await late.ready;
    ids.push(await publish(connection, 'test.place', 'odd'));
    await until(() => got[2]!.length > 0);
    connection.subscribe({ types: ['test.place'], subject: 'odd', after: ids[1]! }, take(3));
    await until(() => got[3]!.length > 2);
    ids.push(await publish(connection, 'test.place', 'odd'));
    await until(() => got.every((list) => list.includes(ids[7]!)));
    expect(got).toEqual([ids.slice(1), ids.slice(3), ids.slice(6), [ids[3], ids[5], ids[6], ids[7]]]);
    writer.close();
    connection.close();
  });

  it('tells one subscription that it may not, and goes on with the others', async () => {
    const connection = client({ transport });
    const got: string[] = [];
    const fine = connection.subscribe({ types: ['test.fine'] }, { event: ({ id }) => got.push(id!) });
    const elsewhere = connection.subscribe({ tenant: 'nobody', types: ['test.*'] });
    const wrong = connection.subscribe({ types: ['no spaces'] });
    await expect(elsewhere.ready).rejects.toMatchObject({ code: 'forbidden' });
    await expect(wrong.ready).rejects.toMatchObject({ code: 'invalid_field' });
    await fine.ready;
    const id = await publish(connection, 'test.fine');
    await until(() => got.length > 0);
    expect(got).toEqual([id]);
    connection.close();
  });

  it('begins anew after a cursor that is none', async () => {
    const connection = client({ transport });
    const resets: unknown[] = [];
    const subscription = connection.subscribe({ after: 'not-a-cursor', types: ['test.*'] }, { reset: (reset) => resets.push(reset) });
    expect(await subscription.ready).toMatchObject({ resumed: false });
    await until(() => resets.length > 0);
    expect(resets).toEqual([{ reason: 'cursor_unknown', cursor: expect.any(String) }]);
    connection.close();
  });
});
