/**
 * A server that speaks the protocol and can do all the wrong that servers, proxies and networks do. Its log is scripted: event n has the id `e<n>`, a cursor is an
 * event's id or `c<n>`, and both mean "seen up to n".
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { WebSocketServer, type WebSocket } from 'ws';

export type Fault =
  | 'refuse'
  | 'hang'
  | 'buffer'
  | 'html'
  | 'cut'
  | 'silent'
  | { status: number; code: string; retryAfter?: number }
  | 'twice'
  /** Answers as it is now, but not before. */
  | { hold: Promise<void> }
  | { bye: number; reason: string };

/** What is being asked, where a fault may happen. */
export type Place = 'status' | 'ticket' | 'websocket' | 'sse' | 'page';

interface Stream {
  readonly tenant: string;
  types: RegExp;
  subject: string | null;
  at: number;
  write(n: number): void;
  beat(): void;
  end(code: number, reason: string): void;
  cut(): void;
}

export interface Scripted {
  n: number;
  type: string;
  subject?: string;
  tenant: string;
  live?: true;
}

export class Faulty {
  readonly log: Scripted[] = [];
  readonly streams = new Set<Stream>();
  readonly asked: { place: Place; authorization: string | undefined; after: string | null; url: string }[] = [];
  readonly heard: Record<string, unknown>[] = [];
  /** Asked before each answer; what it returns is done instead. */
  fault: (place: Place, path: string) => Fault | null = () => null;
  transports = ['websocket', 'sse', 'poll'];
  heartbeatMs = 15_000;
  /** Streams are not told of what is new, while lists show it. */
  lagging = false;
  /** Cursors before this are gone. */
  oldest = 0;
  url = '';
  private readonly http = createServer((request, response) => this.answer(request, response));
  private readonly sockets = new WebSocketServer({ noServer: true, handleProtocols: () => 'tidings.v1.json' });
  private readonly hanging = new Set<() => void>();

  async listen(): Promise<this> {
    this.http.on('upgrade', (request, socket, head) => {
      const fault = this.note('websocket', request);
      if (fault === 'hang') return void this.hanging.add(() => socket.destroy());
      if (fault === 'html') return socket.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 4\r\ncontent-type: text/html\r\n\r\n<ht>');
      if (fault === 'refuse' || (typeof fault === 'object' && fault && 'status' in fault)) return socket.destroy();
      this.sockets.handleUpgrade(request, socket, head, (opened) => this.converse(opened, fault));
    });
    await new Promise<void>((resolve) => this.http.listen(0, '127.0.0.1', resolve));
    this.url = `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
    return this;
  }

  close(): Promise<unknown> {
    for (const stream of this.streams) stream.cut();
    for (const end of this.hanging) end();
    this.sockets.close();
    this.http.closeAllConnections();
    return new Promise((resolve) => this.http.close(resolve));
  }

  emit(event: Partial<Scripted> = {}): string {
    const n = this.log.filter(({ live }) => !live).length + (event.live ? 0 : 1);
    this.log.push({ type: 'test.said', tenant: 'acme', ...event, n });
    if (!this.lagging) this.deliver(this.log.length - 1);
    return `e${n}`;
  }

  /** What streams were not told while they lagged. */
  deliver(index: number): void {
    for (const stream of [...this.streams]) stream.write(index);
  }

  private note(place: Place, request: IncomingMessage): Fault | null {
    const url = new URL(request.url!, 'http://x');
    this.asked.push({ place, authorization: request.headers.authorization, after: url.searchParams.get('after'), url: request.url! });
    return this.fault(place, url.pathname);
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url!, this.url);
    const query = url.searchParams;
    const tenant = /tenants\/([^/]+)/.exec(url.pathname)?.[1] ?? '';
    const sse = !!request.headers.accept?.includes('event-stream');
    const place = url.pathname === '/v1/status' ? 'status' : url.pathname === '/v1/tickets' ? 'ticket' : sse ? 'sse' : 'page';
    const fault = this.note(place, request);
    const json = (status: number, body: object, headers: Record<string, string> = {}) => {
      response.writeHead(status, { 'content-type': status < 400 ? 'application/json' : 'application/problem+json', ...headers }).end(JSON.stringify(body));
    };
    if (fault === 'refuse') return void request.socket.destroy();
    if (fault === 'hang') return void this.hanging.add(() => response.destroy());
    if (fault === 'html') return void response.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>');
    if (typeof fault === 'object' && fault && 'status' in fault)
      return json(fault.status, { code: fault.code, detail: fault.code, status: fault.status }, fault.retryAfter ? { 'retry-after': String(fault.retryAfter) } : {});
    if (place === 'status') return json(200, { available: true, transports: this.transports, version: 'test' });
    if (place === 'ticket') return json(201, { ticket: 't', expires_in: 30 });
    if (url.pathname === '/v1/session') return json(200, { sub: 'ann', role: 'member', tenants: ['acme'], expires_at: 0 });
    if (!url.pathname.endsWith('/events')) return void response.writeHead(204).end();
    const after = query.get('after');
    const at = after === 'now' && !sse ? this.from(null) : this.read(after);
    if (at === 'wrong') return json(422, { code: 'invalid_field', detail: 'after is no cursor', field: 'after', status: 422 });
    const types = patternOf(query.get('types')?.split(','));
    if (!sse) return this.page(response, json, tenant, types, query, at, fault);
    if (at === 'gone') return json(410, { code: 'cursor_unknown', detail: 'gone', status: 410 });
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    if (fault === 'buffer') return void this.hanging.add(() => response.destroy());
    const from = this.from(at);
    response.write(`retry: 600\nid: c${from}\nevent: hello\ndata: {"connection":"s1","resumed":${at !== null},"cursor":"c${from}","heartbeat_s":${this.heartbeatMs / 1000}}\n\n`);
    const stream = this.stream(tenant, types, query.get('subject'), from, fault, {
      event: (text, id, whole) => response.write(whole ? `${id ? `id: ${id}\n` : ''}data: ${text}\n\n` : `id: ${id}\ndata: ${text.slice(0, 9)}`),
      beat: (cursor) => response.write(`id: ${cursor}\n\n`),
      end: (code, reason) => response.end(`retry: 700\nevent: bye\ndata: ${JSON.stringify({ code, reason, reconnect: code < 4500 })}\n\n`),
      cut: () => response.destroy(),
    });
    response.on('close', () => this.streams.delete(stream));
  }

  private page(response: ServerResponse, json: (status: number, body: object) => void, tenant: string, types: RegExp, query: URLSearchParams, at: number | 'gone' | null, fault: Fault | null): void {
    if (at === 'gone') return json(410, { code: 'cursor_unknown', detail: 'gone', status: 410 });
    const found = () => {
      const from = at ?? 0;
      const to = Math.max(from, ...this.log.filter(({ live }) => !live).map(({ n }) => n));
      const events = this.log.filter((event) => !event.live && event.n > from && wants(event, tenant, types, query.get('subject')));
      // Small pages, so that there are several.
      const shown = events.slice(0, 3);
      const more = events.length > 3;
      return { events: shown.map(cloud), cursor: `c${more ? shown[2]!.n : to}`, more };
    };
    const send = () => {
      if (typeof fault === 'object' && fault && 'hold' in fault) {
        const body = found();
        return void fault.hold.then(() => json(200, body));
      }
      if (fault !== 'cut') return json(200, found());
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '999' }).write('{"eve');
      setTimeout(() => response.destroy(), 1);
    };
    if (!Number(query.get('wait')) || found().events.length) return send();
    // Held, until something comes or time is up.
    const arrived = this.stream(tenant, types, query.get('subject'), Infinity, null, { event: () => done(), beat: () => {}, end: () => done(), cut: () => response.destroy() });
    const timer = setTimeout(() => done(), Number(query.get('wait')) * 1000);
    const done = () => {
      clearTimeout(timer);
      if (this.streams.delete(arrived)) send();
    };
    response.on('close', () => (clearTimeout(timer), this.streams.delete(arrived)));
  }

  private converse(socket: WebSocket, fault: Fault | null): void {
    const say = (frame: object) => socket.send(JSON.stringify(frame));
    if (fault === 'buffer') return void this.hanging.add(() => socket.terminate());
    say({ type: 'hello', connection: 'w1', heartbeat_s: this.heartbeatMs / 1000, protocol: 'tidings.v1.json', version: 'test' });
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data));
      this.heard.push(frame);
      if (frame.type === 'ping' && fault !== 'silent') say({ type: 'pong' });
      if (frame.type === 'auth') say({ type: 'result', ok: true, data: {} });
      if (frame.type === 'command') say({ type: 'result', id: frame.id, ok: true, data: { name: frame.name } });
      if (frame.type !== 'subscribe') return;
      const at = this.read(frame.after ?? null);
      if (at === 'wrong') return say({ type: 'error', id: frame.id, code: 'invalid_field', message: 'after is no cursor' });
      const from = at === 'gone' ? this.log.length : this.from(at);
      say({ type: 'subscribed', id: frame.id, cursor: `c${from}`, resumed: at !== null && at !== 'gone' });
      if (at === 'gone') say({ type: 'reset', id: frame.id, reason: 'cursor_unknown', cursor: `c${from}` });
      const stream = this.stream(frame.tenant, patternOf(frame.types), frame.subject ?? null, from, fault, {
        event: (text, _, whole) => (whole ? socket.send(`{"type":"event","event":${text}}`) : socket.terminate()),
        beat: (cursor) => say({ type: 'heartbeat', id: frame.id, cursor }),
        end: (code, reason) => (say({ type: 'bye', code, reason, reconnect: code < 4500 }), socket.close(code, reason)),
        cut: () => socket.terminate(),
      });
      socket.on('close', () => this.streams.delete(stream));
    });
  }

  private stream(tenant: string, types: RegExp, subject: string | null, from: number, fault: Fault | null, out: { event(text: string, id: string | undefined, whole: boolean): void; beat(cursor: string): void; end(code: number, reason: string): void; cut(): void }): Stream {
    const log = this.log;
    let left = fault === 'cut' ? 2 : Infinity;
    const beats = setInterval(() => fault !== 'silent' && stream.beat(), this.heartbeatMs);
    const over = (): boolean => (clearInterval(beats), this.streams.delete(stream));
    const stream: Stream = {
      tenant,
      types,
      subject,
      at: from,
      write: (index) => {
        const event = log[index]!;
        if (fault === 'silent' || !this.streams.has(stream) || !wants(event, tenant, types, subject)) return;
        if (!event.live && event.n <= stream.at) return;
        if (!event.live) stream.at = event.n;
        const { id } = cloud(event) as { id?: string };
        out.event(JSON.stringify(cloud(event)), id, --left > 0);
        // The one before it again: a repeat out of its order.
        const last = log.findLast((other, at) => at < index && !other.live && other.n > from && wants(other, tenant, types, subject));
        if (fault === 'twice' && last) out.event(JSON.stringify(cloud(last)), `e${last.n}`, true);
        if (left <= 0 && over()) out.cut();
      },
      beat: () => out.beat(`c${Math.max(0, ...log.filter(({ live }) => !live).map(({ n }) => n))}`),
      end: (code, reason) => over() && out.end(code, reason),
      cut: () => over() && out.cut(),
    };
    this.streams.add(stream);
    log.forEach((event, index) => event.live || (event.n > from && stream.write(index)));
    if (typeof fault === 'object' && fault && 'bye' in fault) setTimeout(() => stream.end(fault.bye, fault.reason), 1);
    return stream;
  }

  private read(cursor: string | null): number | 'wrong' | 'gone' | null {
    if (cursor === null) return null;
    if (cursor === 'now') return this.from(null);
    const n = /^[ec](\d+)$/.exec(cursor)?.[1];
    return n === undefined ? 'wrong' : Number(n) < this.oldest ? 'gone' : Number(n);
  }

  private from(at: number | 'gone' | null): number {
    const newest = Math.max(0, ...this.log.filter(({ live }) => !live).map(({ n }) => n));
    return typeof at === 'number' ? at : newest;
  }
}

function cloud({ n, type, subject, tenant, live }: Scripted): object {
  return { specversion: '1.0', ...(live ? {} : { id: `e${n}` }), source: '/test', type, ...(subject ? { subject } : {}), time: '2026-01-01T00:00:00.000000Z', tenant, data: { n } };
}

function patternOf(globs: string[] | undefined): RegExp {
  return globs ? new RegExp(`^(${globs.map((glob) => glob.replace(/\./g, '\\.').replace(/\*/g, '.*')).join('|')})$`) : /^/;
}

function wants(event: Scripted, tenant: string, types: RegExp, subject: string | null): boolean {
  return (tenant === '' || event.tenant === tenant) && types.test(event.type) && (subject === null || event.subject === subject);
}
