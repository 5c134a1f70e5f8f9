import { createContext, useEffect, useMemo, useRef, type ReactElement, type ReactNode } from 'react';
import type { Problem } from '../src/problem';
import { progress } from '../store/progress';
import type { Store } from '../store/store';
import { putUpload, uploading, type Upload, type Uploading } from '../store/uploading';
import { uploads, type Uploads } from '../store/uploads';
import { useGivenConnection } from './useConnection';

export interface UploadContext {
  uploads: Uploads;
  uploading: Uploading;
  status: Store<{ isPolling: boolean }>;
}

export const uploadContext = createContext<UploadContext | null>(null);

export interface UploadProviderProps {
  children: ReactNode;
  tenant?: string;
  /** Who is signed in: another user of the same browser does not see these uploads. */
  user?: string;
  /** Where files go. The server's own store where it is left out. */
  upload?: Upload;
  /** For the default, where no cookie decides. */
  getToken?: () => string | null | Promise<string | null>;
  /** An upload or a retry has failed: show it where the user looks. */
  onError?: (fileName: string, problem: Problem) => void;
}

/**
 * Holds the uploads of the page, above everything that shows them: put it around the whole application, so that they go on while one navigates.
 *
 * ```tsx
 * <UploadProvider upload={async (file, { signal }) => putIntoBucket(file, signal)}>…</UploadProvider>
 * ```
 */
export function UploadProvider({ children, tenant, user, upload, getToken, onError }: UploadProviderProps): ReactElement {
  const connection = useGivenConnection();
  const of = tenant ?? connection.tenant;
  if (of === null) throw new Error('uploads are of a tenant: name one here, or connect with one');
  // The functions may be new ones with each render; what is under way asks for the latest.
  const given = useRef({ upload, getToken, onError });
  useEffect(() => {
    given.current = { upload, getToken, onError };
  });
  const context = useMemo<UploadContext>(() => {
    const items = uploads({ tenant: of, user: user ?? null });
    const own = putUpload(connection, of, () => given.current.getToken?.() ?? null);
    return {
      uploads: items,
      uploading: uploading(connection, of, items, (file, more) => (given.current.upload ?? own)(file, more), (name, problem) => given.current.onError?.(name, problem)),
      status: progress(connection, of, items),
    };
  }, [connection, of, user]);
  // The list lives as long as the provider, whoever shows it: it is what storage and other tabs are heard by.
  useEffect(() => context.uploads.subscribe(() => {}), [context]);
  return <uploadContext.Provider value={context}>{children}</uploadContext.Provider>;
}
