import { useMemo } from 'react';
import { documentsOf, type DocumentList, type Documents } from '../store/documents';
import { useGivenConnection } from './useConnection';
import { useStore } from './useStore';

/**
 * The tenant's documents and how far their processing is, live.
 *
 * ```tsx
 * const { documents, retry } = useDocuments();
 * ```
 */
export function useDocuments({ tenant }: { tenant?: string } = {}): DocumentList & Pick<Documents, 'more' | 'retry' | 'reload'> {
  const connection = useGivenConnection();
  const of = tenant ?? connection.tenant;
  if (of === null) throw new Error('documents are of a tenant: name one here, or connect with one');
  const store = useMemo(() => documentsOf(connection, of), [connection, of]);
  return { ...useStore(store), more: store.more, retry: store.retry, reload: store.reload };
}
