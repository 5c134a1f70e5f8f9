import { useCallback, useMemo, useState, useSyncExternalStore } from 'react';

/** Components of this page; the browser tells other tabs only. */
const listeners = new Set<() => void>();
/** Values that the browser would not store (no room, or private): they last as long as the page. */
const unstored = new Map<string, string>();

/**
 * State that is kept in `localStorage` as JSON, the same in all components and tabs. On a server, and where what is stored cannot be read, it is the
 * initial value.
 *
 * ```tsx
 * const [sound, setSound] = useLocalStorage('sound', false);
 * setSound((on) => !on);
 * ```
 */
export function useLocalStorage<Value>(key: string, initialValue: Value): readonly [Value, (value: Value | ((now: Value) => Value)) => void] {
  // The first one, so that an object written in the component does not make a new value in each render.
  const [initial] = useState(() => initialValue);
  const text = useSyncExternalStore(listen, () => stored(key), () => null);
  const value = useMemo(() => parsed(key, text, initial), [key, text, initial]);
  const set = useCallback(
    (next: Value | ((now: Value) => Value)) => {
      if (typeof window === 'undefined') {
        console.warn(`there is no window to keep "${key}" in`);
        return;
      }
      // What is stored now, not what was rendered last: setting twice in one go counts twice.
      const made = next instanceof Function ? next(parsed(key, stored(key), initial)) : next;
      const json = JSON.stringify(made);
      try {
        window.localStorage.setItem(key, json);
        unstored.delete(key);
      } catch (error) {
        unstored.set(key, json);
        console.error(`"${key}" could not be stored`, error);
      }
      for (const listener of [...listeners]) listener();
    },
    [key, initial],
  );
  return [value, set];
}

function listen(listener: () => void): () => void {
  const entry = () => listener();
  listeners.add(entry);
  window.addEventListener('storage', entry);
  return () => {
    listeners.delete(entry);
    window.removeEventListener('storage', entry);
  };
}

function stored(key: string): string | null {
  try {
    return unstored.get(key) ?? window.localStorage.getItem(key);
  } catch {
    return null;
  }
}

function parsed<Value>(key: string, text: string | null, initial: Value): Value {
  if (text === null) return initial;
  try {
    return JSON.parse(text) as Value;
  } catch (error) {
    console.error(`what is stored as "${key}" is not JSON`, error);
    return initial;
  }
}
