import { onScopeDispose, shallowReadonly, shallowRef, watch, type ShallowRef } from 'vue';
import type { Store } from '../store/store';

/**
 * The state of a store as a ref. What is passed is read as `watch` reads it, so the store may be another one later; null is nothing to follow. The
 * store is live as long as the component, or the scope, is. On a server nothing is followed.
 */
export function useStore<State>(source: () => Store<State> | null, otherwise: State): Readonly<ShallowRef<State>> {
  const state = shallowRef<State>(otherwise) as ShallowRef<State>;
  let end: (() => void) | undefined;
  watch(
    source,
    (store) => {
      end?.();
      state.value = store ? store.get() : otherwise;
      end = store && typeof window !== 'undefined' ? store.subscribe(() => (state.value = store.get())) : undefined;
    },
    { immediate: true },
  );
  onScopeDispose(() => end?.());
  return shallowReadonly(state) as Readonly<ShallowRef<State>>;
}
