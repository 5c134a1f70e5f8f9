import { computed, onScopeDispose, shallowRef, toValue, watch, type ComputedRef, type MaybeRefOrGetter } from 'vue';
import { connect } from '../src';
import type { Connection, Options, Status } from '../src/connection';
import type { Problem } from '../src/problem';
import { watchedCase, type Case, type CaseOptions, type CaseStatus } from '../store/case';
import type { WatchedState } from '../store/watched';
import { useStore } from './useStore';

export interface CaseNotificationsOptions extends CaseOptions, Pick<Options, 'url' | 'transport'> {
  /** Instead of one of its own; it stays yours to close. */
  connection?: Connection;
}

export interface CaseNotifications {
  case: ComputedRef<Case | null>;
  status: ComputedRef<CaseStatus | null>;
  results: ComputedRef<unknown>;
  /** Why processing failed. */
  failure: ComputedRef<Case['error']>;
  /** Percent, where the table has it and while it is processing. */
  progress: ComputedRef<number | null>;
  isConnected: ComputedRef<boolean>;
  isPolling: ComputedRef<boolean>;
  isLoading: ComputedRef<boolean>;
  /** Why it could not be read. */
  error: ComputedRef<Problem | null>;
  retry: () => void;
}

/**
 * A case and how far its processing is, as in React. The connection is closed with the component.
 *
 * ```ts
 * const { status, progress, failure, isConnected, retry } = useCaseNotifications(() => props.caseId, token);
 * ```
 */
export function useCaseNotifications(
  caseId: MaybeRefOrGetter<string | null | undefined>,
  token?: MaybeRefOrGetter<string | null | undefined>,
  options: CaseNotificationsOptions = {},
): CaseNotifications {
  const connection = shallowRef<Connection | null>(null);
  const status = shallowRef<Status | null>(null);
  let leave = () => {};

  watch(
    () => options.connection ?? toValue(token),
    (given) => {
      leave();
      const { url, transport, tenant } = options;
      const held =
        typeof given === 'object'
          ? given
          : connect({
              ...(given && { getToken: () => given }),
              ...(url !== undefined && { url }),
              ...(transport !== undefined && { transport }),
              ...(tenant !== undefined && { tenant }),
            });
      connection.value = held;
      if (!held) return;
      status.value = held.status;
      const forget = held.onStatus((now) => (status.value = now));
      leave = () => {
        forget();
        if (!options.connection) held.close();
      };
    },
    { immediate: true },
  );
  onScopeDispose(() => leave());

  const store = computed(() => {
    const id = toValue(caseId);
    return connection.value && id ? watchedCase(connection.value, id, options) : null;
  });
  const state = useStore<WatchedState<Case>>(() => store.value, { row: null, isLoading: Boolean(toValue(caseId)), isPolling: false, error: null });
  const row = computed(() => state.value.row);
  return {
    case: row,
    status: computed(() => row.value?.status ?? null),
    results: computed(() => row.value?.results ?? null),
    failure: computed(() => row.value?.error ?? null),
    progress: computed(() => (row.value?.status === 'processing' ? (row.value.progress ?? null) : null)),
    isConnected: computed(() => status.value?.state === 'connected' || status.value?.state === 'polling'),
    isPolling: computed(() => state.value.isPolling),
    isLoading: computed(() => state.value.isLoading),
    error: computed(() => state.value.error),
    retry: () => void store.value?.retry(),
  };
}
