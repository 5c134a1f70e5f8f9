/**
 * What all stores of the package are: a value to read, and a way to hear that it has changed. No framework stands in it, so that React, Vue
 * and the pages share one; `react/useStore.ts` brings it into React.
 */
export interface Store<State> {
  /** An immutable snapshot: the same object until something changes. */
  get(): State;
  /** Called after each change; the returned function ends that. */
  subscribe(listener: () => void): () => void;
}

export interface Cell<State> extends Store<State> {
  /** Tells the listeners, unless it is the same object. */
  set(next: State): void;
}

/**
 * A store that holds one value. With `begin` it is live while somebody listens: called with the first listener, and what it returns after
 * the last. The end waits for a microtask, since React takes an effect away and sets it up again in one go (StrictMode, a moved component),
 * which shall not cost a request.
 */
export function cell<State>(initial: State, begin?: () => () => void): Cell<State> {
  const listeners = new Set<() => void>();
  let state = initial;
  let end: (() => void) | null = null;
  return {
    get: () => state,
    set(next) {
      if (Object.is(next, state)) return;
      state = next;
      for (const listener of [...listeners]) listener();
    },
    subscribe(listener) {
      // Each call counts, also with a function that listens already.
      const entry = () => listener();
      listeners.add(entry);
      if (begin) end ??= begin();
      return () => {
        listeners.delete(entry);
        queueMicrotask(() => {
          if (listeners.size || !end) return;
          end();
          end = null;
        });
      };
    },
  };
}
