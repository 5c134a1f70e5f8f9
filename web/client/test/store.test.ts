import { describe, expect, it, vi } from 'vitest';
import { optimistic } from '../store/optimistic';
import { cell } from '../store/store';

describe('a cell', () => {
  it('tells each listener of each change, and of nothing that is the same', () => {
    const store = cell({ count: 1 });
    const listener = vi.fn();
    const end = store.subscribe(listener);
    store.subscribe(listener);
    store.set(store.get());
    expect(listener).not.toHaveBeenCalled();
    store.set({ count: 2 });
    expect(listener).toHaveBeenCalledTimes(2);
    end();
    store.set({ count: 3 });
    expect(listener).toHaveBeenCalledTimes(3);
  });

  it('is live from the first listener to the last, and is not ended by who leaves and comes back at once', async () => {
    const ended = vi.fn();
    const begun = vi.fn(() => ended);
    const store = cell(0, begun);
    expect(begun).not.toHaveBeenCalled();
    store.subscribe(() => undefined)();
    const one = store.subscribe(() => undefined);
    const two = store.subscribe(() => undefined);
    one();
    await Promise.resolve();
    expect([begun.mock.calls.length, ended.mock.calls.length]).toEqual([1, 0]);
    two();
    await Promise.resolve();
    expect(ended).toHaveBeenCalledTimes(1);
    store.subscribe(() => undefined);
    expect(begun).toHaveBeenCalledTimes(2);
  });
});

describe('an optimistic change', () => {
  type State = Record<string, string>;
  const begun = () => {
    const store = optimistic<State>({ a: 'old', b: 'old' });
    let agree!: (answer: string) => void;
    let refuse!: (error: Error) => void;
    const done = store.attempt<string>(
      (state) => ({ ...state, a: 'hoped' }),
      () => new Promise((resolve, reject) => ((agree = resolve), (refuse = reject))),
      (facts, answer) => ({ ...facts, a: answer }),
    );
    return { store, done, agree: (answer: string) => agree(answer), refuse: () => refuse(new Error('refused')) };
  };

  it('is seen at once, and is a fact when the server agrees', async () => {
    const { store, done, agree } = begun();
    expect([store.get().a, store.facts().a]).toEqual(['hoped', 'old']);
    agree('agreed');
    await done;
    expect([store.get().a, store.facts().a]).toEqual(['agreed', 'agreed']);
  });

  it('is taken back by a refusal, and nothing that was learned meanwhile is', async () => {
    const { store, done, refuse } = begun();
    store.learn((facts) => ({ ...facts, a: 'told', b: 'told' }));
    expect(store.get()).toEqual({ a: 'hoped', b: 'told' });
    refuse();
    await expect(done).rejects.toThrow('refused');
    expect(store.get()).toEqual({ a: 'told', b: 'told' });
  });

  it('leaves others that are under way', async () => {
    const { store, done, refuse } = begun();
    const other = store.attempt((state) => ({ ...state, b: 'hoped' }), () => new Promise(() => undefined));
    void other;
    refuse();
    await done.catch(() => undefined);
    expect(store.get()).toEqual({ a: 'old', b: 'hoped' });
  });

  it('goes from hope to fact in one step', async () => {
    const { store, done, agree } = begun();
    const seen: string[] = [];
    store.subscribe(() => seen.push(store.get().a!));
    agree('agreed');
    await done;
    expect(seen).toEqual(['agreed']);
  });
});
