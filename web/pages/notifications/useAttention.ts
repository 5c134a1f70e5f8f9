import { useEffect } from 'react';
import { useNotificationCounts } from '@tidings/client/react';
import { useNotificationStore } from '../../client/react/useNotifications';
import type { Notification } from '../../client/store/notification';
import { toast } from '../shell';
import { texts } from '../texts';

/** Calls for attention: the number in title and icon of the browser's tab, and a toast for what arrives. */
export function useAttention(tenant: string): void {
  const unseen = useNotificationCounts()?.unseen ?? 0;
  const store = useNotificationStore();
  useEffect(() => {
    document.title = texts.notifications.documentTitle(unseen, tenant);
    icon().href = drawn(unseen);
  }, [unseen, tenant]);
  useEffect(() => {
    let close: (() => void) | null = null;
    let shown: Notification[] = [];
    let since = 0;
    return store.onArrival((arrived) => {
      void oneWindow(arrived[0]!.id, () => {
        // One toast at a time, which counts on: a stack of them would hide what they are about.
        shown = Date.now() - since < 4000 ? [...shown, ...arrived] : [...arrived];
        since = Date.now();
        close?.();
        const { title, message, type } = shown[0]!;
        close = toast({ text: texts.notifications.arrived(shown.length, title, message.length > 120 ? `${message.slice(0, 120)}…` : message), tone: /fail|error/.test(type) ? 'bad' : 'info' });
      });
    });
  }, [store]);
}

/** Of all windows that are looked at, one shows it: whoever takes the lock of this notification first, and keeps it while the others try. */
async function oneWindow(id: string, show: () => void): Promise<void> {
  if (document.visibilityState !== 'visible') return;
  if (!('locks' in navigator)) return show();
  await navigator.locks.request(`tidings toast ${id}`, { ifAvailable: true }, async (lock) => {
    if (!lock) return;
    show();
    await new Promise((resolve) => setTimeout(resolve, 5000));
  });
}

function icon(): HTMLLinkElement {
  const found = document.querySelector<HTMLLinkElement>('link[rel="icon"]');
  if (found) return found;
  const made = document.createElement('link');
  made.rel = 'icon';
  document.head.append(made);
  return made;
}

function drawn(unseen: number): string {
  const badge = unseen ? `<circle cx="23" cy="9" r="9" fill="#b3261e"/><text x="23" y="13.5" font-family="sans-serif" font-size="${unseen > 9 ? 10 : 13}" font-weight="700" text-anchor="middle" fill="#fff">${unseen > 99 ? '99' : unseen}</text>` : '';
  return `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#0b6b5d"/><path d="M8 10h16M8 16h7M8 22h16" stroke="#fff" stroke-width="3" stroke-linecap="round"/>${badge}</svg>`)}`;
}
