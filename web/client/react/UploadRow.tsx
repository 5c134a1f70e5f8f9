import { useRef, type ReactElement } from 'react';
import type { UploadItem } from '../store/uploads';
import { Icon } from './icons';
import { Progress } from './Progress';
import { RelativeTime } from './RelativeTime';
import { texts } from './texts';
import { useUploads } from './useUploads';

const icons = { uploading: 'spinner', processing: 'spinner', complete: 'done', failed: 'alert' } as const;
const tones = { uploading: 'info', processing: 'warn', complete: 'good', failed: 'bad' } as const;

/** One upload: how far it is, why it failed, and what can be done about it. */
export function UploadRow({ upload }: { upload: UploadItem }): ReactElement {
  const { retry, cancel, removeUpload, upload: send } = useUploads();
  const input = useRef<HTMLInputElement>(null);
  const { id, fileName, status, interrupted, progress, startTime, documentId } = upload;
  const again = () => {
    if (!retry(id)) input.current?.click();
  };
  const mustChoose = status === 'failed' && interrupted && documentId === undefined;
  return (
    <div className="t-row t-upload" data-status={status}>
      <span className="t-state" data-tone={tones[status]}>
        <Icon name={icons[status]} />
      </span>
      <div className="t-row-main">
        <p className="t-row-title t-truncate" title={fileName}>
          {fileName}
        </p>
        <p className="t-row-text" data-tone={status === 'failed' ? 'bad' : undefined}>
          {statusText(upload)}
        </p>
        {(status === 'uploading' || status === 'processing') && <Progress of={fileName} percent={status === 'processing' && progress === 0 ? null : progress} />}
        <p className="t-row-text t-small">
          <RelativeTime at={startTime} />
        </p>
      </div>
      <div className="t-row-side">
        {status === 'failed' && (
          <button type="button" className="t-button" data-size="small" aria-label={mustChoose ? texts.uploads.chooseOf(fileName) : texts.uploads.retryOf(fileName)} onClick={again}>
            <Icon name={mustChoose ? 'upload' : 'retry'} />
            {mustChoose ? texts.uploads.choose : texts.uploads.retry}
          </button>
        )}
        {status === 'uploading' ? (
          <button type="button" className="t-icon-button" data-size="small" aria-label={texts.uploads.cancelOf(fileName)} title={texts.uploads.cancel} onClick={() => cancel(id)}>
            <Icon name="close" />
          </button>
        ) : (
          status !== 'processing' && (
            <button type="button" className="t-icon-button" data-size="small" aria-label={texts.uploads.removeOf(fileName)} title={texts.uploads.remove} onClick={() => removeUpload(id)}>
              <Icon name="close" />
            </button>
          )
        )}
        <input
          ref={input}
          type="file"
          hidden
          aria-label={texts.uploads.chooseOf(fileName)}
          onChange={(event) => {
            send([...(event.currentTarget.files ?? [])], id);
            event.currentTarget.value = '';
          }}
        />
      </div>
    </div>
  );
}

function statusText({ status, progress, stage, error, interrupted, documentId }: UploadItem): string {
  switch (status) {
    case 'uploading':
      return texts.uploads.uploading(progress);
    case 'processing':
      return stage ? texts.uploads.processingStage(texts.documents.stages[stage] ?? stage, progress) : texts.uploads.processing;
    case 'complete':
      return texts.uploads.complete;
    case 'failed':
      return interrupted && documentId === undefined ? texts.uploads.interrupted : error || texts.uploads.failed;
  }
}
