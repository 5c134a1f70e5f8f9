/** A reverse proxy as they stand between people and servers: it can buffer streams, block WebSockets, cut, and go silent. */
import { createServer, request, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';

export class Proxy {
  /** Holds back what a stream says until it ends, as buffering proxies do. */
  buffering = false;
  /** Answers the WebSocket handshake with 502. */
  withoutWebSocket = false;
  /** Answers streams of events with 502 and a page of HTML. */
  withoutStreams = false;
  /** Takes no connection, and cuts those that are. */
  private isDown = false;
  /** Bytes vanish in both directions, and no end is told. */
  private isSilent = false;
  private readonly sockets = new Set<Socket>();

  private constructor(
    private readonly target: URL,
    private readonly server: Server,
  ) {}

  static async start(target: string): Promise<Proxy> {
    const server = createServer();
    const proxy = new Proxy(new URL(target), server);
    server.on('connection', (socket: Socket) => {
      proxy.keep(socket);
      if (proxy.isDown) socket.destroy();
    });
    server.on('request', (asked: IncomingMessage, answer: ServerResponse) => proxy.pass(asked, answer));
    server.on('upgrade', (asked: IncomingMessage, socket: Socket, head: Buffer) => proxy.upgrade(asked, socket, head));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return proxy;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Cuts every connection and refuses new ones, until `up`. */
  down(): void {
    this.isDown = true;
    this.cut();
  }

  up(): void {
    this.isDown = false;
    this.isSilent = false;
  }

  /** Cuts every connection once. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  /** Lets nothing through any more, without ending a connection: a cable that was pulled. */
  silence(): void {
    this.isSilent = true;
    for (const socket of this.sockets) socket.pause();
  }

  async stop(): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private keep(socket: Socket): void {
    this.sockets.add(socket);
    socket.on('close', () => this.sockets.delete(socket));
    socket.on('error', () => socket.destroy());
    if (this.isSilent) socket.pause();
  }

  private pass(asked: IncomingMessage, answer: ServerResponse): void {
    const isStream = asked.headers.accept?.includes('text/event-stream') ?? false;
    if (isStream && this.withoutStreams) {
      answer.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>');
      return;
    }
    // Same-origin checks look at the host: pass on the one that the browser sees.
    const onward = request({ host: this.target.hostname, port: this.target.port, method: asked.method, path: asked.url, headers: asked.headers }, (answered) => {
      answer.writeHead(answered.statusCode ?? 502, answered.headers);
      if (isStream && this.buffering) {
        const held: Buffer[] = [];
        answered.on('data', (chunk: Buffer) => held.push(chunk));
        answered.on('end', () => answer.end(Buffer.concat(held)));
      } else {
        answered.on('data', (chunk: Buffer) => this.isSilent || answer.write(chunk));
        answered.on('end', () => answer.end());
      }
      answered.on('error', () => answer.destroy());
    });
    onward.on('error', () => {
      if (answer.headersSent) answer.destroy();
      else answer.writeHead(502, { 'content-type': 'text/html' }).end('<h1>Bad Gateway</h1>');
    });
    answer.on('close', () => onward.destroy());
    asked.pipe(onward);
  }

  private upgrade(asked: IncomingMessage, socket: Socket, head: Buffer): void {
    if (this.withoutWebSocket) {
      socket.end('HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\nconnection: close\r\n\r\n');
      return;
    }
    const onward = connect(Number(this.target.port), this.target.hostname);
    this.keep(onward);
    const lines = [`${asked.method} ${asked.url} HTTP/1.1`];
    for (let i = 0; i < asked.rawHeaders.length; i += 2) lines.push(`${asked.rawHeaders[i]}: ${asked.rawHeaders[i + 1]}`);
    onward.write(`${lines.join('\r\n')}\r\n\r\n`);
    onward.write(head);
    onward.on('data', (chunk: Buffer) => this.isSilent || socket.write(chunk));
    socket.on('data', (chunk: Buffer) => this.isSilent || onward.write(chunk));
    onward.on('close', () => socket.destroy());
    socket.on('close', () => onward.destroy());
  }
}
