import { useState } from 'react';
import { DocumentList, FileUploader, Icon, NotificationInbox, UploadRow, useDocuments, useUploads } from '@tidings/client/react';
import { tabs, type Notification, type Tab } from '../../client/store/notification';
import { toast, useHere } from '../shell';
import { texts } from '../texts';
import { useAttention } from './useAttention';

/** The tenant's notifications, and its documents on their way. */
export function NotificationsPage() {
  const { tenant } = useHere();
  const [tab, setTab] = useTab();
  const { documents } = useDocuments();
  // On a phone the documents are one line, until they are wanted.
  const [isOpen, setOpen] = useState(false);
  const count = (...states: string[]) => documents.filter(({ status }) => states.includes(status)).length;
  const [active, failed] = [count('uploaded', 'processing'), count('failed')];
  useAttention(tenant);
  /** A notification about a document that stands on this page leads to it. */
  const extra = ({ metadata }: Notification, isCurrent: boolean) => {
    const id = metadata['documentId'];
    return documents.some((document) => document.id === id) ? (
      <a href={`#document-${encodeURIComponent(String(id))}`} tabIndex={isCurrent ? 0 : -1} onClick={() => setOpen(true)}>
        {texts.notifications.showDocument}
      </a>
    ) : null;
  };
  return (
    <div className="notifications">
      <div className="t-card notifications-inbox">
        <NotificationInbox tab={tab} onTab={setTab} extra={extra} announceArrivals={false} />
      </div>
      <aside className="notifications-aside" aria-label={texts.notifications.documents}>
        <section className="t-card" aria-labelledby="documents-title" data-closed={isOpen ? undefined : ''}>
          <div className="t-card-head">
            <h2 id="documents-title" className="t-grow">
              {texts.notifications.documents}
            </h2>
            {active > 0 && (
              <span className="t-chip" data-tone="warn">
                {texts.notifications.active(active)}
              </span>
            )}
            {failed > 0 && (
              <span className="t-chip" data-tone="bad">
                {texts.notifications.failed(failed)}
              </span>
            )}
            <button
              type="button"
              className="t-icon-button notifications-toggle"
              data-size="small"
              aria-expanded={isOpen}
              aria-controls="documents-uploader documents-list"
              aria-label={texts.notifications.showDocuments}
              onClick={() => setOpen(!isOpen)}
            >
              <Icon name="chevron" />
            </button>
          </div>
          <div className="notifications-uploader" id="documents-uploader">
            <FileUploader />
          </div>
          <Unsent />
          <div className="notifications-documents" id="documents-list">
            <DocumentList onError={(text) => toast({ text, tone: 'bad' })} />
          </div>
        </section>
        <dl className="notifications-keys t-muted t-small" aria-label={texts.notifications.keys}>
          {texts.notifications.keyList.map(([keys, what]) => (
            <div key={what}>
              <dt>
                {keys.map((key) => (
                  <kbd key={key} className="t-kbd">
                    {key}
                  </kbd>
                ))}
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </aside>
    </div>
  );
}

/** What is no document yet: files on their way, and those that did not get there. */
function Unsent() {
  const { uploads } = useUploads();
  const unsent = uploads.filter(({ documentId }) => documentId === undefined);
  if (!unsent.length) return null;
  return (
    <ul className="t-list notifications-unsent">
      {[...unsent].reverse().map((upload) => (
        <li key={upload.id}>
          <UploadRow upload={upload} />
        </li>
      ))}
    </ul>
  );
}

/** The tab stands in the address: it outlives a reload, and can be sent to somebody. */
function useTab(): [Tab, (tab: Tab) => void] {
  const [tab, set] = useState<Tab>(() => tabs.find((name) => name === new URLSearchParams(location.search).get('tab')) ?? 'all');
  return [
    tab,
    (next) => {
      const address = new URL(location.href);
      if (next === 'all') address.searchParams.delete('tab');
      else address.searchParams.set('tab', next);
      history.replaceState(null, '', address);
      set(next);
    },
  ];
}
