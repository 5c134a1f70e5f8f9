import { useMemo, useSyncExternalStore } from 'react';
import type { Store } from '../store/store';

/**
 * The state of a store, or the part of it that `select` takes; renders again when that changes. On a server it is the state as it is: nothing is
 * subscribed to there.
 *
 * ```tsx
 * const unread = useStore(notifications, (state) => state.unreadCount);
 * ```
 */
export function useStore<State>(store: Store<State>): State;
export function useStore<State, Part>(store: Store<State>, select: (state: State) => Part): Part;
export function useStore<State, Part>(store: Store<State>, select?: (state: State) => Part): State | Part {
  // One selected value per snapshot: React compares what it gets twice by identity, and a selector may build a new object.
  const read = useMemo(() => {
    let last: { state: State; part: State | Part } | null = null;
    return () => {
      const state = store.get();
      if (!last || !Object.is(last.state, state)) last = { state, part: select ? select(state) : state };
      return last.part;
    };
  }, [store, select]);
  return useSyncExternalStore(store.subscribe, read, read);
}
