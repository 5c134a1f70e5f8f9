import { useStore } from './useStore';
import { useUploadContext } from './useUploads';

/**
 * Keeps the uploads in step with what the server makes of them, while it is mounted: by events, and by asking only where those cannot come.
 *
 * ```tsx
 * const { isPolling } = useDocumentStatus();
 * ```
 */
export function useDocumentStatus(): { isPolling: boolean } {
  return useStore(useUploadContext().status);
}
