import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openToasts } from '../shell/toast';

describe('toasts', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const texts = (toasts: ReturnType<typeof openToasts>) => toasts.get().map(({ text }) => text);

  it('go by themselves, each in its own time', () => {
    const toasts = openToasts(() => undefined);
    toasts.add({ text: 'one', ms: 1_000 });
    vi.advanceTimersByTime(600);
    toasts.add({ text: 'two', ms: 1_000 });
    vi.advanceTimersByTime(400);
    expect(texts(toasts)).toEqual(['two']);
    vi.advanceTimersByTime(600);
    expect(texts(toasts)).toEqual([]);
  });

  it('stay for five seconds, and for ten where there is something to press', () => {
    const toasts = openToasts(() => undefined);
    toasts.add({ text: 'one' });
    toasts.add({ text: 'two', action: { text: 'Undo', run: () => undefined } });
    const shownAfter = (ms: number) => (vi.advanceTimersByTime(ms), texts(toasts));
    expect([shownAfter(4_999), shownAfter(1), shownAfter(4_999), shownAfter(1)]).toEqual([['one', 'two'], ['two'], ['two'], []]);
  });

  it('are all gone when whoever they were for has left, and later ones go by themselves again', () => {
    const toasts = openToasts(() => undefined);
    toasts.add({ text: 'one', ms: 0 });
    toasts.add({ text: 'two', ms: 1_000 });
    toasts.pause();
    toasts.clear();
    expect(texts(toasts)).toEqual([]);
    toasts.add({ text: 'three', ms: 1_000 });
    vi.advanceTimersByTime(1_000);
    expect(texts(toasts)).toEqual([]);
  });

  it('wait while somebody reads them, and go on where they were', () => {
    const toasts = openToasts(() => undefined);
    toasts.add({ text: 'one', ms: 1_000 });
    vi.advanceTimersByTime(700);
    toasts.pause();
    vi.advanceTimersByTime(60_000);
    expect(texts(toasts)).toEqual(['one']);
    toasts.resume();
    vi.advanceTimersByTime(299);
    expect(texts(toasts)).toEqual(['one']);
    vi.advanceTimersByTime(1);
    expect(texts(toasts)).toEqual([]);
  });

  it('wait also when another one comes meanwhile', () => {
    const toasts = openToasts(() => undefined);
    toasts.add({ text: 'one', ms: 1_000 });
    toasts.pause();
    toasts.add({ text: 'two', ms: 1_000 });
    vi.advanceTimersByTime(60_000);
    expect(texts(toasts)).toEqual(['one', 'two']);
  });

  it('do not stay paused by one that was closed under the pointer', () => {
    const toasts = openToasts(() => undefined);
    const close = toasts.add({ text: 'one' });
    toasts.pause();
    close();
    toasts.add({ text: 'two', ms: 1_000 });
    vi.advanceTimersByTime(1_000);
    expect(texts(toasts)).toEqual([]);
  });

  it('never fill the window', () => {
    const toasts = openToasts(() => undefined);
    for (const text of 'abcdef') toasts.add({ text, ms: 0 });
    expect(texts(toasts)).toEqual(['c', 'd', 'e', 'f']);
  });

  it('are said, with the key that reaches their action', () => {
    const said: string[] = [];
    openToasts((text) => said.push(text)).add({ text: 'Archived.', action: { text: 'Undo', run: () => undefined } });
    expect(said).toEqual(['Archived. Undo: press Alt+T.']);
  });
});
