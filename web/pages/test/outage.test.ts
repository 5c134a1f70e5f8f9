import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { scripted } from '../../client/test/scripted';
import { watchOutages } from '../shell/outage';

describe('an outage', () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.parse('2026-11-20T15:00:00Z') }));
  afterEach(() => void vi.useRealTimers());

  const cutOff = () => {
    const inner = scripted();
    const watched = watchOutages(inner);
    const events: string[] = [];
    watched.connection.subscribe({}, { event: ({ type }) => void events.push(type) });
    inner.setStatus({ state: 'connecting', retryAt: 123 });
    return { inner, ...watched, events };
  };

  it('is nobody’s concern while it is short', () => {
    const { inner, outage } = cutOff();
    vi.advanceTimersByTime(1_900);
    inner.setStatus({ state: 'connected', retryAt: null });
    vi.advanceTimersByTime(60_000);
    expect(outage.get()).toBeNull();
  });

  it('tells since when, and whether this device is the reason', () => {
    const { inner, outage } = cutOff();
    vi.advanceTimersByTime(2_000);
    expect(outage.get()).toEqual({ is: 'away', since: Date.parse('2026-11-20T15:00:00Z'), retryAt: 123, offline: false });
    inner.setStatus({ state: 'offline', retryAt: null });
    expect(outage.get()).toMatchObject({ offline: true, since: Date.parse('2026-11-20T15:00:00Z') });
  });

  it('counts what was missed when it is over, and not what happens now', () => {
    const { inner, outage, events } = cutOff();
    vi.advanceTimersByTime(10_000);
    inner.setStatus({ state: 'connected', retryAt: null });
    for (const second of ['03', '04', '05']) inner.emit('a.b', {}, { time: `2026-11-20T15:00:${second}.000000Z` });
    inner.emit('a.b', {}, { time: '2026-11-20T15:00:11.000000Z' });
    vi.advanceTimersByTime(1_500);
    expect(outage.get()).toEqual({ is: 'back', caughtUp: 3, reloaded: false });
    expect(events).toHaveLength(4);
    vi.advanceTimersByTime(6_000);
    expect(outage.get()).toBeNull();
  });

  it('tells when everything had to be loaded anew', () => {
    const { inner, outage, connection } = cutOff();
    connection.subscribe({}, { reset: () => undefined });
    vi.advanceTimersByTime(10_000);
    inner.setStatus({ state: 'connected', retryAt: null });
    inner.reset();
    vi.advanceTimersByTime(1_500);
    expect(outage.get()).toMatchObject({ is: 'back', reloaded: true });
  });

  it('is over without a word when the connection was closed for good', () => {
    const { inner, outage } = cutOff();
    vi.advanceTimersByTime(5_000);
    inner.setStatus({ state: 'closed', reason: 'closed' });
    vi.advanceTimersByTime(60_000);
    expect(outage.get()).toBeNull();
  });
});
