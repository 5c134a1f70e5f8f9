import { useId, type ReactElement, type ReactNode, type Ref } from 'react';
import type { Notification } from '../store/notification';
import { Icon, type IconName } from './icons';
import { RelativeTime } from './RelativeTime';
import { texts } from './texts';

export interface NotificationItemProps {
  notification: Notification;
  index: number;
  count: number;
  heading: 'h2' | 'h3';
  /** Of a list of which one is reached by Tab, and the others by arrows. */
  isCurrent: boolean;
  onFocus(): void;
  onRead(): void;
  onArchive(): void;
  /** More to do with it, as a link to what it is about. */
  extra?: ReactNode;
  row: Ref<HTMLElement>;
}

/** One notification. Its texts are rows of the database: they are shown as text only. */
export function NotificationItem({ notification, index, count, heading: Heading, isCurrent, onFocus, onRead, onArchive, extra, row }: NotificationItemProps): ReactElement {
  const { type, title, message, created_at, created_by, read, archived } = notification;
  const id = useId();
  const { icon, tone } = signOf(type);
  const readLabel = read ? texts.inbox.markUnread : texts.inbox.markRead;
  const archiveLabel = archived ? texts.inbox.unarchive : texts.inbox.archive;
  return (
    <article
      ref={row}
      className="t-row t-notification"
      data-unread={!read || undefined}
      data-id={notification.id}
      aria-labelledby={`${id}-unread ${id}-title`}
      aria-describedby={`${id}-text`}
      aria-posinset={index + 1}
      aria-setsize={count}
      tabIndex={isCurrent ? 0 : -1}
      onFocus={onFocus}
      onClick={(event) => {
        // A press on the row reads it; one on a button or link in it, or the end of a selection of text, is something else.
        if (!read && !(event.target as Element).closest('button, a') && !getSelection()?.toString()) onRead();
      }}
    >
      <span className="t-state" data-tone={tone}>
        <Icon name={icon} />
      </span>
      <div className="t-row-main">
        <Heading className="t-row-title" id={`${id}-title`}>
          {title}
        </Heading>
        <p className="t-row-text" id={`${id}-text`}>
          {message}
        </p>
        <p className="t-row-text t-small t-notification-facts">
          <RelativeTime at={created_at} />
          {created_by && <span>{texts.inbox.by(created_by.name ?? created_by.id)}</span>}
          {extra}
        </p>
      </div>
      <div className="t-row-side">
        <span className="t-unread-dot" hidden={read} id={`${id}-unread`}>
          <span className="t-visually-hidden">{read ? '' : texts.inbox.unread}</span>
        </span>
        <div className="t-row-actions">
          {!archived && (
            <button type="button" className="t-icon-button" data-size="small" tabIndex={isCurrent ? 0 : -1} aria-label={`${readLabel}: ${title}`} title={readLabel} onClick={onRead}>
              <Icon name={read ? 'bell' : 'check'} />
            </button>
          )}
          <button type="button" className="t-icon-button" data-size="small" tabIndex={isCurrent ? 0 : -1} aria-label={`${archiveLabel}: ${title}`} title={archiveLabel} onClick={onArchive}>
            <Icon name={archived ? 'undo' : 'archive'} />
          </button>
        </div>
      </div>
    </article>
  );
}

function signOf(type: string): { icon: IconName; tone: string } {
  if (/fail|error|alert/.test(type)) return { icon: 'alert', tone: 'bad' };
  if (type === 'document_processed') return { icon: 'done', tone: 'good' };
  if (type.startsWith('document_')) return { icon: 'document', tone: 'info' };
  if (/chat|message|conversation/.test(type)) return { icon: 'chat', tone: 'own' };
  return { icon: 'info', tone: 'info' };
}
