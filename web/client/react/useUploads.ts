import { useContext, useMemo } from 'react';
import type { UploadItem } from '../store/uploads';
import { uploadContext, type UploadContext } from './UploadProvider';
import { useStore } from './useStore';

export type { UploadItem } from '../store/uploads';

export interface UseUploads {
  uploads: readonly UploadItem[];
  /** Registers an upload that something else carries out; returns its id. */
  addUpload(upload: Omit<UploadItem, 'id' | 'startTime' | 'lastUpdated'>): string;
  updateUpload(id: string, updates: Partial<UploadItem>): void;
  removeUpload(id: string): void;
  /** Takes complete and failed ones off the list. */
  clearCompleted(): void;
  /** Sends files, and makes documents of them. `instead`: of an interrupted item, which is used again. */
  upload(files: Iterable<File>, instead?: string): void;
  /** Once more what failed. False: the file must be chosen again. */
  retry(id: string): boolean;
  cancel(id: string): void;
}

export function useUploadContext(): UploadContext {
  const context = useContext(uploadContext);
  if (!context) throw new Error('useUploads must be used within an UploadProvider');
  return context;
}

/**
 * The uploads of this browser: what is being sent, processed, done, and what failed. They outlive navigation and reload.
 *
 * ```tsx
 * const { uploads, upload } = useUploads();
 * <input type="file" onChange={(event) => upload(event.target.files ?? [])} />
 * ```
 */
export function useUploads(): UseUploads {
  const { uploads, uploading } = useUploadContext();
  const items = useStore(uploads);
  const calls = useMemo(
    () => ({
      addUpload: uploads.add,
      updateUpload: uploads.update,
      removeUpload: uploads.remove,
      clearCompleted: uploads.clearCompleted,
      upload: uploading.send,
      retry: uploading.retry,
      cancel: uploading.cancel,
    }),
    [uploads, uploading],
  );
  return { uploads: items, ...calls };
}
