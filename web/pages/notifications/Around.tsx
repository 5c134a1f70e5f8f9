import type { ReactNode } from 'react';
import { NotificationBell, ProcessingStatusIndicator, UploadProvider } from '@tidings/client/react';
import { toast, useHere } from '../shell';
import { serverOf } from '../shell/server';
import { texts } from '../texts';

/** What head and page share: the uploads, which go on whatever is shown. */
export function Around({ children }: { children: ReactNode }) {
  const { session } = useHere();
  const { getToken } = serverOf();
  return (
    <UploadProvider
      user={session.sub}
      {...(getToken && { getToken: () => getToken({ reason: 'connect' }) })}
      onError={(name, problem) => toast({ text: texts.notifications.uploadFailed(name, problem.detail), tone: 'bad' })}
    >
      {children}
    </UploadProvider>
  );
}

/** In the head: what is being processed, and the bell. */
export function Tools() {
  return (
    <>
      <ProcessingStatusIndicator />
      <NotificationBell announceArrivals={false} />
    </>
  );
}
