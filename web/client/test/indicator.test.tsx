// @vitest-environment happy-dom
import { act, cleanup, fireEvent, render } from '@testing-library/react';
import { StrictMode } from 'react';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConnectionIndicator } from '../react/ConnectionIndicator';
import { TidingsProvider } from '../react/TidingsProvider';
import { scripted, type Scripted } from './scripted';

let server: Scripted;
const noon = new Date(2026, 10, 20, 12, 5).getTime();
const show = () =>
  render(
    <StrictMode>
      <TidingsProvider connection={server}>
        <ConnectionIndicator />
        <ConnectionIndicator />
      </TidingsProvider>
    </StrictMode>,
  );
const seen = () => document.querySelector('.t-chip')!.textContent;
const spoken = () => document.querySelector('[role=status]')!.textContent;

beforeEach(() => {
  vi.useFakeTimers({ now: noon });
  server = scripted();
});
afterEach(() => {
  cleanup();
  vi.useRealTimers();
});

describe('ConnectionIndicator', () => {
  it('is live while events arrive', () => {
    show();
    expect([seen(), spoken()]).toEqual(['Live', 'Live']);
    act(() => server.setStatus({ state: 'polling', transport: 'poll' }));
    expect(seen()).toBe('Live, with a delay');
  });

  it('counts down to the next attempt without reading each second out, and tries now when asked', () => {
    const { container } = show();
    act(() => server.setStatus({ state: 'connecting', retryAt: noon + 3_000 }));
    expect([seen(), spoken()]).toEqual(['Reconnecting in 3 s', expect.stringMatching(/^Reconnecting… Showing data from 12:05/)]);
    const before = spoken();
    act(() => void vi.advanceTimersByTime(1_000));
    expect([seen(), spoken()]).toEqual(['Reconnecting in 2 s', before]);
    fireEvent.click(container.querySelector('button')!);
    expect(server.reconnects).toBe(1);
    act(() => server.setStatus({ retryAt: null }));
    expect(seen()).toBe('Reconnecting…');
    expect(container.querySelector('button')).toBeNull();
  });

  it('says of when the data is while there is no network', () => {
    show();
    act(() => server.setStatus({ state: 'offline' }));
    expect(seen()).toMatch(/^Offline – showing data from 12:05/);
  });

  it('does not claim to reconnect, or to show anything, before it was connected', () => {
    server.setStatus({ state: 'connecting' });
    show();
    expect(seen()).toBe('Connecting…');
    act(() => server.setStatus({ state: 'offline' }));
    expect(seen()).toBe('Offline');
  });

  it('says for a while that what was missed has come', () => {
    show();
    act(() => server.setStatus({ state: 'connecting' }));
    act(() => server.setStatus({ state: 'connected' }));
    act(() => server.ready({ again: true, resumed: true }));
    expect(seen()).toBe('Live – caught up');
    act(() => void vi.advanceTimersByTime(6_000));
    expect(seen()).toBe('Live');
  });

  it.each(['before', 'after'])('says that it was loaded again when a reset comes %s the connection is ready, and of the next one only what it did', (order) => {
    show();
    const back = (reset: boolean) => {
      act(() => server.setStatus({ state: 'connecting' }));
      act(() => {
        if (reset && order === 'before') server.reset();
        server.setStatus({ state: 'connected' });
        server.ready({ again: true, resumed: true });
        if (reset && order === 'after') server.reset();
      });
    };
    back(true);
    expect(seen()).toBe('Live – reloaded');
    back(false);
    expect(seen()).toBe('Live – caught up');
  });

  it('says what to do when it is closed for good', () => {
    show();
    act(() => server.setStatus({ state: 'closed', reason: 'token_expired' }));
    expect(seen()).toBe('Disconnected – sign in again');
    act(() => server.setStatus({ state: 'closed', reason: 'closed' }));
    expect(seen()).toBe('Disconnected');
  });

  it('costs one subscription however often it is shown', () => {
    show();
    expect(server.subscriptions).toHaveLength(1);
  });
});
