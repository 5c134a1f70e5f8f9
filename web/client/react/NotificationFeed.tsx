import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactElement, type ReactNode } from 'react';
import type { Notification, Tab } from '../store/notification';
import { Icon } from './icons';
import { NotificationItem } from './NotificationItem';
import { texts } from './texts';
import type { InboxActions } from './useInboxActions';
import { useInView } from './useInView';
import { usePointing } from './usePointing';
import type { UseNotifications } from './useNotifications';

export interface NotificationFeedProps {
  tab: Tab;
  list: UseNotifications;
  actions: InboxActions;
  /** Letters work wherever the focus is on the page, unless one is writing. */
  keysEverywhere: boolean;
  /** Of the titles: one below what stands above the list. */
  headings: 'h2' | 'h3';
  extra?: ((notification: Notification, isCurrent: boolean) => ReactNode) | undefined;
}

/** The list of one tab: moves by keys, loads on by scrolling, and stays still under the reader's eyes. */
export function NotificationFeed({ tab, list, actions, keysEverywhere, headings, extra }: NotificationFeedProps): ReactElement {
  const { notifications, isLoading, isLoadingMore, hasMore, problem, loadMore, refetch, waiting, store } = list;
  const feed = useRef<HTMLDivElement>(null);
  const [current, setCurrent] = useState<string | null>(null);
  const rows = useRef(new Map<string, HTMLElement>());
  const found = notifications.findIndex(({ id }) => id === current);
  const index = Math.max(0, found);

  // Nothing may be put in above what is being read, or pointed at.
  const release = useRef<(() => void) | null>(null);
  const held = useRef({ isAway: false, isPointing: false });
  const hold = (why: Partial<typeof held.current>) => {
    held.current = { ...held.current, ...why };
    if (held.current.isAway || held.current.isPointing) release.current ??= store.hold();
    else {
      release.current?.();
      release.current = null;
    }
  };
  useEffect(() => () => release.current?.(), [store]);
  const top = useInView<HTMLDivElement>((isInView) => hold({ isAway: !isInView }));
  usePointing(feed, (isPointing) => hold({ isPointing }));
  const bottom = useInView<HTMLDivElement>((isInView) => isInView && void loadMore(), 500);
  // A page that is loaded may not reach the end of the window: then the observer has nothing new to tell.
  useEffect(() => {
    const box = bottom.current?.getBoundingClientRect();
    if (hasMore && !isLoadingMore && !problem && box && box.height + box.width > 0 && box.top < innerHeight) void loadMore();
  }, [notifications.length, hasMore, isLoadingMore, problem, loadMore, bottom]);

  const go = (to: number) => {
    const next = notifications[Math.min(Math.max(to, 0), notifications.length - 1)];
    if (next) rows.current.get(next.id)?.focus();
  };
  /** What leaves the list hands the focus to the next one: else it would fall to the page's beginning. */
  const leaving = (notification: Notification, act: () => void) => {
    const at = notifications.indexOf(notification);
    const heir = notifications[at + 1] ?? notifications[at - 1];
    const hadFocus = rows.current.get(notification.id)?.contains(document.activeElement);
    act();
    if (!hadFocus) return;
    setCurrent(heir?.id ?? null);
    if (heir) rows.current.get(heir.id)?.focus();
    else feed.current?.focus();
  };
  const archive = (notification: Notification) => leaving(notification, () => actions.toggleArchived(notification));
  const read = (notification: Notification) => (tab === 'unread' ? leaving(notification, () => actions.toggleRead(notification)) : actions.toggleRead(notification));

  const press = (event: KeyboardEvent | globalThis.KeyboardEvent) => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const target = event.target as HTMLElement;
    const inFeed = feed.current?.contains(target) ?? false;
    const at = notifications[index];
    const onRow = inFeed && target.tagName === 'ARTICLE';
    const begun = inFeed && found >= 0;
    const run: Record<string, (() => void) | false> = {
      ArrowDown: inFeed && (() => go(index + 1)),
      ArrowUp: inFeed && (() => go(index - 1)),
      Home: inFeed && (() => go(0)),
      End: inFeed && (() => go(notifications.length - 1)),
      Enter: onRow && !!at && (() => read(at)),
      j: () => go(begun ? index + 1 : index),
      k: () => go(begun ? index - 1 : index),
      e: begun && !!at && (() => archive(at)),
      u: () => actions.undo?.run(),
    };
    const act = run[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  };
  // Before the next key can be pressed: after the painting would be too late.
  const latest = useRef({ press, go });
  useLayoutEffect(() => {
    latest.current = { press, go };
  });
  useEffect(() => {
    if (!keysEverywhere) return;
    const listen = (event: globalThis.KeyboardEvent) => {
      const target = event.target as HTMLElement;
      const writes = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
      if (!event.defaultPrevented && !writes && !document.querySelector('dialog[open], [role="dialog"], [role="menu"]')) latest.current.press(event);
    };
    document.addEventListener('keydown', listen);
    return () => document.removeEventListener('keydown', listen);
  }, [keysEverywhere]);

  return (
    <div className="t-feed">
      <div ref={top} className="t-feed-top" />
      {waiting > 0 && (
        <div className="t-feed-pill">
          <button
            type="button"
            className="t-pill"
            aria-label={texts.inbox.freshLabel(waiting)}
            onClick={() => {
              store.letIn();
              top.current?.scrollIntoView({ block: 'center' });
              // Once they are in the list.
              requestAnimationFrame(() => latest.current.go(0));
            }}
          >
            <Icon name="back" />
            {texts.inbox.fresh(waiting)}
          </button>
        </div>
      )}
      {isLoading && <Skeleton />}
      {!isLoading && problem && notifications.length === 0 && (
        <div className="t-empty" role="alert">
          <Icon name="alert" />
          <strong>{texts.inbox.failed}</strong>
          <span>{problem.detail}</span>
          <button type="button" className="t-button" onClick={() => void refetch()}>
            {texts.inbox.again}
          </button>
        </div>
      )}
      {!isLoading && !problem && notifications.length === 0 && !hasMore && (
        <div className="t-empty">
          <Icon name={tab === 'archived' ? 'archive' : tab === 'documents' ? 'document' : tab === 'unread' ? 'done' : 'bell'} />
          <strong>{texts.inbox.empty[tab][0]}</strong>
          <span>{texts.inbox.empty[tab][1]}</span>
        </div>
      )}
      <div
        ref={feed}
        role={notifications.length ? 'feed' : undefined}
        aria-label={notifications.length ? texts.inbox.tabs[tab] : undefined}
        aria-busy={isLoadingMore || undefined}
        tabIndex={-1}
        className="t-list"
        onKeyDown={keysEverywhere ? undefined : press}
      >
        {notifications.map((notification, at) => (
          <NotificationItem
            key={notification.id}
            row={(element) => void (element ? rows.current.set(notification.id, element) : rows.current.delete(notification.id))}
            notification={notification}
            index={at}
            heading={headings}
            count={hasMore ? -1 : notifications.length}
            isCurrent={at === index}
            onFocus={() => setCurrent(notification.id)}
            onRead={() => read(notification)}
            onArchive={() => archive(notification)}
            extra={extra?.(notification, at === index)}
          />
        ))}
      </div>
      <div ref={bottom} className="t-list-foot">
        {problem && notifications.length > 0 && <span role="alert">{texts.inbox.failedMore} </span>}
        {hasMore ? (
          <button type="button" className="t-button" data-kind="quiet" data-size="small" disabled={isLoadingMore} onClick={() => void loadMore()}>
            {isLoadingMore && <Icon name="spinner" />}
            {problem ? texts.inbox.again : texts.inbox.older}
          </button>
        ) : (
          notifications.length > 8 && <span className="t-muted t-small">{texts.inbox.end}</span>
        )}
      </div>
    </div>
  );
}

function Skeleton(): ReactElement {
  return (
    <div className="t-list" role="status" aria-label={texts.inbox.loading}>
      {[0, 1, 2, 3, 4].map((index) => (
        <div key={index} className="t-row">
          <span className="t-skeleton" data-size="avatar" />
          <span className="t-row-main">
            <span className="t-skeleton" data-size="title" />
            <span className="t-skeleton" />
          </span>
        </div>
      ))}
    </div>
  );
}
