import { describe, expect, it } from 'vitest';
import { figuresOf } from '../index/stats';

describe('the figures of the server', () => {
  it('are those that the server gave, and no others', () => {
    const connections = [{ connection: 'c1', sub: 'ann', transport: 'sse' }];
    expect(figuresOf({ connections, ready: true, rates: { events_per_second: 2.25 }, lag_ms: 739.6 }).map(([, value]) => value)).toEqual(['1', 'ready', '2.3', '740 ms']);
    expect(figuresOf({ connections, ready: false, rates: null, lag_ms: null, drops: { slow: 1, resets: 2 } }).map(([, value]) => value)).toEqual(['1', 'catching up', '3']);
  });
});
