import { useEffect, useRef, useState, type ReactElement } from 'react';
import { Problem } from '../src/problem';
import type { DocumentState } from '../store/documents';
import { Icon } from './icons';
import { Progress } from './Progress';
import { RelativeTime } from './RelativeTime';
import { texts } from './texts';
import { useDocuments } from './useDocuments';

const icons = { uploaded: 'clock', processing: 'spinner', processed: 'done', failed: 'alert' } as const;
const tones = { uploaded: 'info', processing: 'warn', processed: 'good', failed: 'bad' } as const;

/** The tenant's documents: state, stage and progress of each, live, and another try for one that failed. */
export function DocumentList({ tenant, onError }: { tenant?: string; onError?: (text: string) => void }): ReactElement {
  const { state, problem, documents, next, more, retry, reload } = useDocuments(tenant === undefined ? {} : { tenant });
  const said = useEndings(documents);
  const again = (document: DocumentState) =>
    retry(document.id).catch((error: unknown) => onError?.(error instanceof Problem && error.code === 'conflict' ? texts.documents.takenUp : texts.documents.notRetried));
  if (state === 'loading')
    return (
      <div className="t-list" aria-busy="true" aria-label={texts.documents.loading} role="status">
        {[0, 1, 2].map((index) => (
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
  if (state === 'failed')
    return (
      <div className="t-empty" role="alert">
        <Icon name="alert" />
        <strong>{texts.documents.failed}</strong>
        <span>{problem?.detail}</span>
        <button type="button" className="t-button" onClick={() => void reload()}>
          {texts.documents.again}
        </button>
      </div>
    );
  return (
    <>
      <p className="t-visually-hidden" role="status">
        {said}
      </p>
      {documents.length === 0 && (
        <div className="t-empty">
          <Icon name="document" />
          <strong>{texts.documents.empty[0]}</strong>
          <span>{texts.documents.empty[1]}</span>
        </div>
      )}
      <ul className="t-list t-documents" aria-label={texts.documents.title}>
        {documents.map((document) => (
          <li key={document.id} id={`document-${document.id}`} tabIndex={-1}>
            <DocumentRow document={document} retry={() => void again(document)} />
          </li>
        ))}
      </ul>
      {next !== null && (
        <p className="t-list-foot">
          <button type="button" className="t-button" data-kind="quiet" data-size="small" onClick={() => void more().catch(() => onError?.(texts.documents.failed))}>
            {texts.documents.more}
          </button>
        </p>
      )}
    </>
  );
}

function DocumentRow({ document: { name, status, stage, progress, error, uploaded_by, created_at }, retry }: { document: DocumentState; retry: () => void }): ReactElement {
  return (
    <div className="t-row t-document" data-status={status}>
      <span className="t-state" data-tone={tones[status]}>
        <Icon name={icons[status]} />
      </span>
      <div className="t-row-main">
        <p className="t-row-title t-truncate" title={name}>
          {name}
        </p>
        <p className="t-row-text" data-tone={status === 'failed' ? 'bad' : undefined}>
          {status === 'failed' ? error?.message || texts.documents.noReason : texts.documents.states[status]}
          {status === 'processing' && stage && ` · ${texts.documents.stages[stage] ?? stage}`}
          {status === 'processing' && progress !== null && ` · ${progress}%`}
        </p>
        {status === 'processing' && <Progress of={name} percent={progress} />}
        <p className="t-row-text t-small">
          <RelativeTime at={created_at} /> {uploaded_by !== null && texts.documents.by(uploaded_by)}
        </p>
      </div>
      {status === 'failed' && (
        <div className="t-row-side">
          <button type="button" className="t-button" data-size="small" aria-label={texts.uploads.retryOf(name)} onClick={retry}>
            <Icon name="retry" />
            {texts.uploads.retry}
          </button>
        </div>
      )}
    </div>
  );
}

/** Only endings are said aloud: each percent would be noise. */
function useEndings(documents: readonly DocumentState[]): string {
  const before = useRef(new Map<string, string>());
  const [said, say] = useState('');
  useEffect(() => {
    const ended = documents.find(({ id, status }) => {
      const was = before.current.get(id);
      return was !== undefined && was !== status && (status === 'processed' || status === 'failed');
    });
    before.current = new Map(documents.map(({ id, status }) => [id, status]));
    if (ended) say(ended.status === 'processed' ? texts.documents.done(ended.name) : texts.documents.broke(ended.name));
  }, [documents]);
  return said;
}
