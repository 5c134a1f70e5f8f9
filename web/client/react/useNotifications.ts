import { useCallback, useEffect, useMemo } from 'react';
import type { Problem } from '../src/problem';
import { listed, waiting, type Inbox } from '../store/inbox';
import type { Counts, Notification, Tab } from '../store/notification';
import { notificationsOf, type Notifications } from '../store/notifications';
import { useGivenConnection } from './useConnection';
import { useStore } from './useStore';

export interface UseNotifications {
  /** Of the tab, newest first, as far as loaded. */
  notifications: readonly Notification[];
  /** Of all tabs, and `unseen`; null until known. */
  counts: Counts | null;
  /** Arrived and held back: call `store.letIn()` to show them. */
  waiting: number;
  isLoading: boolean;
  isLoadingMore: boolean;
  hasMore: boolean;
  problem: Problem | null;
  loadMore(): Promise<void>;
  refetch(): Promise<void>;
  /** These change the screen at once; when the server refuses, they take it back and throw the `Problem`. */
  markRead(id: string): Promise<void>;
  markUnread(id: string): Promise<void>;
  archive(id: string): Promise<void>;
  unarchive(id: string): Promise<void>;
  markAllRead(): Promise<void>;
  markAllSeen(): Promise<void>;
  store: Notifications;
}

/**
 * The notifications of the signed-in user in the connection's tenant: lists, counts and the changes of both, live.
 *
 * ```tsx
 * const { notifications, counts, markRead, hasMore, loadMore } = useNotifications({ tab: 'unread' });
 * ```
 */
export function useNotifications({ tab = 'all', tenant }: { tab?: Tab; tenant?: string } = {}): UseNotifications {
  const store = useNotificationStore(tenant);
  const inbox = useStore(store);
  useEffect(() => void store.open(tab), [store, tab]);
  const notifications = useMemo(() => listed(inbox, tab), [inbox, tab]);
  const list = inbox.lists[tab];
  return {
    notifications,
    counts: inbox.counts,
    waiting: waiting(inbox, tab),
    isLoading: list.state === 'idle' || list.state === 'loading',
    isLoadingMore: list.loadingMore,
    hasMore: list.next !== null,
    problem: list.problem,
    loadMore: useCallback(() => store.more(tab), [store, tab]),
    refetch: useCallback(() => (store.get().lists[tab].state === 'failed' ? store.open(tab) : store.reload()), [store, tab]),
    markRead: useCallback((id) => store.mark(id, { read: true }), [store]),
    markUnread: useCallback((id) => store.mark(id, { read: false }), [store]),
    archive: useCallback((id) => store.mark(id, { archived: true }), [store]),
    unarchive: useCallback((id) => store.mark(id, { archived: false }), [store]),
    markAllRead: useCallback(() => store.markAllRead(), [store]),
    markAllSeen: useCallback(() => store.see(), [store]),
    store,
  };
}

/** The counts alone, for a badge: loads no list. */
export function useNotificationCounts({ tenant }: { tenant?: string } = {}): Counts | null {
  return useStore(useNotificationStore(tenant), ofCounts);
}

const ofCounts = (inbox: Inbox) => inbox.counts;

export function useNotificationStore(tenant?: string): Notifications {
  const connection = useGivenConnection();
  const of = tenant ?? connection.tenant;
  if (of === null) throw new Error('notifications are of a tenant: name one here, or connect with one');
  return useMemo(() => notificationsOf(connection, of), [connection, of]);
}
