/** Tells the server which session this page shows, again after each reconnect; a page that nobody sees shows none. */
import { useEffect } from 'react';
import type { Connection } from '@tidings/client';

export function useLooking(connection: Connection, tenant: string, session: string | null): void {
  useEffect(() => {
    let told: string | null = null;
    const tell = (shown: string | null) => {
      if (shown === told) return;
      told = shown;
      // It is only a courtesy: without it, colleagues do not see who looks.
      connection.command('chat.view', { tenant, session: shown }).catch(() => {});
    };
    const look = () => tell(document.visibilityState === 'visible' ? session : null);
    const end = connection.onStatus(({ state }) => {
      // Who looks belongs to the connection, and went with it.
      if (state === 'connected' || state === 'polling') look();
      else told = null;
    });
    document.addEventListener('visibilitychange', look);
    const { state } = connection.status;
    if (session !== null && (state === 'connected' || state === 'polling')) look();
    return () => {
      end();
      document.removeEventListener('visibilitychange', look);
      if (told !== null && connection.status.state !== 'closed') tell(null);
    };
  }, [connection, tenant, session]);
}
