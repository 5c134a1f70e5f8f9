import { describe, expect, it, vi } from 'vitest';
import type { TidingsEvent } from '@tidings/client';
import { blockReader, listenOnWire } from '../index/wire';

const bytes = (text: string) => new TextEncoder().encode(text);
const line = (id: string) => `{"specversion":"1.0","id":"${id}","source":"/emit","type":"a.b","time":"2026-11-20T14:57:31Z","tenant":"acme","data":{"sum": 129.90}}`;

describe('listening on the wire', () => {
  it('shows a block exactly as it came, however it was cut into pieces', () => {
    const found: string[] = [];
    const read = blockReader((text) => found.push(text));
    const stream = bytes(`event: hello\ndata: {}\n\nid: e1\ndata: ${line('e1').replace('129.90', '"ü€𝄞"')}\n\nid: c.1\n\n`);
    for (const byte of stream) read(Uint8Array.of(byte));
    expect(found).toEqual([`id: e1\ndata: ${line('e1').replace('129.90', '"ü€𝄞"')}`]);
  });

  it('passes a stream on unchanged, and cancels it with its reader', async () => {
    let cancelled = false;
    const body = new ReadableStream<Uint8Array>({
      start: (out) => out.enqueue(bytes(`id: e1\ndata: ${line('e1')}\n\n`)),
      cancel: () => { cancelled = true; },
    });
    const wire = listenOnWire({ WebSocket: EventTarget as never, fetch: async () => new Response(body, { headers: { 'content-type': 'text/event-stream' } }) });
    const reader = (await wire.fetch('/v1/tenants/acme/events')).body!.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe(`id: e1\ndata: ${line('e1')}\n\n`);
    expect(wire.bytesOf(JSON.parse(line('e1')) as TidingsEvent)).toEqual({ kind: 'block', text: `id: e1\ndata: ${line('e1')}` });
    await reader.cancel();
    await vi.waitFor(() => expect(cancelled).toBe(true));
  });

  it('keeps the frame of an event before whoever listens hears of it', () => {
    class Socket extends EventTarget {
      constructor(readonly url: string) { super(); }
    }
    const wire = listenOnWire({ WebSocket: Socket as never, fetch });
    const socket = new wire.WebSocket('ws://here');
    const frame = `{"type":"event","event":${line('e2')}}`;
    let heard = null as unknown;
    socket.addEventListener('message', () => { heard = wire.bytesOf(JSON.parse(line('e2')) as TidingsEvent); });
    socket.dispatchEvent(new MessageEvent('message', { data: frame }));
    expect(heard).toEqual({ kind: 'frame', text: frame });
  });
});
