import { useId, type ReactElement } from 'react';
import { Icon } from './icons';
import { texts } from './texts';
import { UploadRow } from './UploadRow';
import { useDocumentStatus } from './useDocumentStatus';
import { usePopover } from './usePopover';
import { useUploads } from './useUploads';

const statuses = ['uploading', 'processing', 'complete', 'failed'] as const;
const tones = { uploading: 'info', processing: 'warn', complete: 'good', failed: 'bad' } as const;

/**
 * For the header: how many documents are under way, and a list of them. Nothing at all where there are none.
 *
 * ```tsx
 * <UploadProvider><header><ProcessingStatusIndicator /></header>…</UploadProvider>
 * ```
 */
export function ProcessingStatusIndicator(): ReactElement | null {
  const { uploads, clearCompleted } = useUploads();
  useDocumentStatus();
  const { isOpen, toggle, close, button, surface } = usePopover();
  const title = useId();
  if (uploads.length === 0) return null;
  const counts = Object.fromEntries(statuses.map((status) => [status, uploads.filter((upload) => upload.status === status).length])) as Record<(typeof statuses)[number], number>;
  const active = counts.uploading + counts.processing;
  return (
    <div className="t-anchor">
      <button
        ref={button}
        type="button"
        className="t-button t-indicator"
        aria-haspopup="dialog"
        aria-expanded={isOpen}
        aria-label={active ? `${texts.uploads.button}, ${texts.uploads.active(active)}` : texts.uploads.button}
        data-failed={counts.failed > 0 || undefined}
        onClick={toggle}
      >
        <Icon name={counts.failed > 0 && active === 0 ? 'alert' : 'document'} />
        <span className="t-indicator-label">{texts.uploads.button}</span>
        {active > 0 && (
          <span className="t-badge" data-kind="count">
            {active}
          </span>
        )}
      </button>
      {isOpen && (
        <div ref={surface} className="t-popover t-uploads" data-align="end" role="dialog" aria-labelledby={title} tabIndex={-1}>
          <div className="t-card-head">
            <h2 id={title} className="t-grow">
              {texts.uploads.title}
            </h2>
            <button type="button" className="t-icon-button" data-size="small" aria-label={texts.uploads.close} onClick={close}>
              <Icon name="close" />
            </button>
          </div>
          <dl className="t-tiles">
            {statuses.map(
              (status) =>
                counts[status] > 0 && (
                  <div key={status} className="t-tile" data-tone={tones[status]}>
                    <dt>{texts.uploads.counts[status]}</dt>
                    <dd>{counts[status]}</dd>
                  </div>
                ),
            )}
          </dl>
          {counts.complete + counts.failed > 0 && (
            <p className="t-uploads-clear">
              <button type="button" className="t-button" data-kind="quiet" data-size="small" onClick={() => (active === 0 && close(), clearCompleted())}>
                {texts.uploads.clear}
              </button>
            </p>
          )}
          <ul className="t-list">
            {[...uploads].reverse().map((upload) => (
              <li key={upload.id}>
                <UploadRow upload={upload} />
              </li>
            ))}
          </ul>
        </div>
      )}
    </div>
  );
}
