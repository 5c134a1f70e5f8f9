import type { ReactElement } from 'react';
import { Icon } from './icons';
import { NotificationInbox, type NotificationInboxProps } from './NotificationInbox';
import { texts } from './texts';
import { useNotificationCounts } from './useNotifications';
import { usePopover } from './usePopover';

/**
 * A bell with the number of what was not seen yet; it opens the inbox in a popover.
 *
 * ```tsx
 * <NotificationBell href="/notifications" />
 * ```
 */
export function NotificationBell({ href, ...props }: Omit<NotificationInboxProps, 'form' | 'children'> & { /** Of the whole page. */ href?: string }): ReactElement {
  const counts = useNotificationCounts(props.tenant === undefined ? {} : { tenant: props.tenant });
  const { isOpen, toggle, button, surface } = usePopover();
  const unseen = counts?.unseen ?? 0;
  return (
    <div className="t-anchor">
      <button ref={button} type="button" className="t-icon-button t-bell" aria-haspopup="dialog" aria-expanded={isOpen} aria-label={texts.inbox.bell(unseen)} onClick={toggle}>
        <Icon name="bell" />
        {unseen > 0 && (
          <span className="t-badge" data-kind="count">
            {unseen > 99 ? '99+' : unseen}
          </span>
        )}
      </button>
      {isOpen && (
        <div ref={surface} className="t-popover t-inbox-popover" data-align="end" role="dialog" aria-label={texts.inbox.title} tabIndex={-1}>
          <NotificationInbox form="popover" {...props}>
            {href !== undefined && (
              <a className="t-small" href={href}>
                {texts.inbox.all}
              </a>
            )}
          </NotificationInbox>
        </div>
      )}
    </div>
  );
}
