import { useCallback, useEffect, useId, useRef, useState, type KeyboardEvent, type ReactElement, type ReactNode } from 'react';
import { tabs as allTabs, type Notification, type Tab } from '../store/notification';
import { Icon } from './icons';
import { NotificationFeed } from './NotificationFeed';
import { texts } from './texts';
import { useInboxActions } from './useInboxActions';
import { useNotifications } from './useNotifications';

export interface NotificationInboxProps {
  /** `page` fills its place, and its keys work on the whole page; `popover` is small, and keeps its keys to itself. */
  form?: 'page' | 'popover';
  tenant?: string;
  tabs?: readonly Tab[];
  /** The tab, where the page keeps it (in its address, say). */
  tab?: Tab;
  onTab?(tab: Tab): void;
  /** More to do with a notification, as a link to what it is about. Only the current one's is to be reached by Tab: the list is as long as the history. */
  extra?: (notification: Notification, isCurrent: boolean) => ReactNode;
  /** Says to screen readers what arrives. Off where something else on the page says it. */
  announceArrivals?: boolean;
  /** Beside the title. */
  children?: ReactNode;
}

/** Who looks for so long has seen what is there. */
const seenMs = 1500;
/** What arrives within this is said in one sentence. */
const sayMs = 1000;

/**
 * The notifications of the signed-in user: tabs with counts, the list, and all that can be done with them.
 *
 * ```tsx
 * <NotificationInbox form="page" />
 * ```
 */
export function NotificationInbox({ form = 'page', tenant, tabs = allTabs, tab: given, onTab, extra, announceArrivals = true, children }: NotificationInboxProps): ReactElement {
  const [own, setOwn] = useState<Tab>(given ?? tabs[0] ?? 'all');
  const tab = given ?? own;
  const choose = (next: Tab) => {
    setOwn(next);
    onTab?.(next);
  };
  const list = useNotifications({ tab, ...(tenant !== undefined && { tenant }) });
  const { counts, store } = list;
  const [said, say] = useState('');
  const actions = useInboxActions(store, say);
  const id = useId();
  useSeen(list.waiting ? 0 : (counts?.unseen ?? 0), list.markAllSeen);
  useArrivals(store.onArrival, say, announceArrivals);

  const bar = useRef<HTMLDivElement>(null);
  // In a popover the dialog around it is the landmark.
  const Frame = form === 'page' ? 'section' : 'div';
  const moveTab = (event: KeyboardEvent) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const to = event.key === 'Home' ? 0 : event.key === 'End' ? tabs.length - 1 : step && (tabs.indexOf(tab) + step + tabs.length) % tabs.length;
    if (to === undefined) return;
    event.preventDefault();
    choose(tabs[to]!);
    (bar.current?.children[to] as HTMLElement).focus();
  };

  return (
    <Frame className="t-inbox" data-form={form} {...(form === 'page' && { 'aria-labelledby': `${id}-title` })}>
      <p className="t-visually-hidden" role="status">
        {said}
      </p>
      <div className="t-inbox-head">
        {form === 'page' ? <h1 id={`${id}-title`}>{texts.inbox.title}</h1> : <h2 id={`${id}-title`}>{texts.inbox.title}</h2>}
        {children}
        <button type="button" className="t-button" data-kind="quiet" data-size="small" disabled={!counts || counts.unread === 0} onClick={actions.markAllRead}>
          <Icon name="doubleCheck" />
          {texts.inbox.markAll}
        </button>
      </div>
      <div ref={bar} className="t-tabs" role="tablist" aria-label={texts.inbox.tabList} onKeyDown={moveTab}>
        {tabs.map((name) => (
          <button key={name} type="button" role="tab" id={`${id}-${name}`} aria-selected={name === tab} aria-controls={`${id}-panel`} tabIndex={name === tab ? 0 : -1} onClick={() => choose(name)}>
            {texts.inbox.tabs[name]}
            {counts && (
              <span className="t-badge" data-kind={name === 'unread' && counts.unread > 0 ? 'count' : undefined}>
                {counts[name]}
              </span>
            )}
          </button>
        ))}
      </div>
      {actions.problem && (
        <p className="t-banner" data-tone="bad">
          <Icon name="alert" />
          {actions.problem}
        </p>
      )}
      <div id={`${id}-panel`} role="tabpanel" aria-labelledby={`${id}-${tab}`} tabIndex={-1} aria-description={texts.inbox.keys}>
        <NotificationFeed key={tab} tab={tab} list={list} actions={actions} keysEverywhere={form === 'page'} headings={form === 'page' ? 'h2' : 'h3'} extra={extra} />
      </div>
      {actions.undo && (
        <div className="t-undo">
          <span className="t-truncate">{actions.undo.text}</span>
          <button type="button" className="t-button" data-size="small" onClick={actions.undo.run}>
            <Icon name="undo" />
            {texts.inbox.undo}
          </button>
          <button type="button" className="t-icon-button" data-size="small" aria-label={texts.inbox.dismiss} onClick={actions.forget}>
            <Icon name="close" />
          </button>
        </div>
      )}
    </Frame>
  );
}

/** What is in front of somebody's eyes for a moment is seen; in a tab in the background nothing is. */
function useSeen(unseen: number, see: () => Promise<void>): void {
  const [isVisible, setVisible] = useState(() => typeof document === 'undefined' || document.visibilityState === 'visible');
  useEffect(() => {
    // Without a network it could not be told; it is when the network is back.
    const changed = () => setVisible(document.visibilityState === 'visible' && navigator.onLine !== false);
    changed();
    document.addEventListener('visibilitychange', changed);
    addEventListener('online', changed);
    addEventListener('offline', changed);
    return () => {
      document.removeEventListener('visibilitychange', changed);
      removeEventListener('online', changed);
      removeEventListener('offline', changed);
    };
  }, []);
  useEffect(() => {
    if (!unseen || !isVisible) return;
    // Refused or unreachable: the next arrival tries again.
    const timer = setTimeout(() => void see().catch(() => {}), seenMs);
    return () => clearTimeout(timer);
  }, [unseen, isVisible, see]);
}

function useArrivals(onArrival: (listener: (arrived: readonly Notification[]) => void) => () => void, say: (text: string) => void, isOn: boolean): void {
  const heard = useCallback(() => {
    let arrived: Notification[] = [];
    let timer: ReturnType<typeof setTimeout> | null = null;
    const stop = onArrival((more) => {
      arrived = [...arrived, ...more];
      timer ??= setTimeout(() => {
        say(texts.inbox.arrived(arrived.length, arrived[0]!.title));
        arrived = [];
        timer = null;
      }, sayMs);
    });
    return () => {
      stop();
      if (timer) clearTimeout(timer);
    };
  }, [onArrival, say]);
  useEffect(() => (isOn ? heard() : undefined), [heard, isOn]);
}
