/**
 * Whether it is this tab's turn to do what one tab of a browser shall do. A Web Lock is held for it, which is passed on when the tab goes. Not
 * the tab that holds the connection: that may show another page.
 */
import { useEffect, useState } from 'react';

export function useTurn(name: string, wanted: boolean): boolean {
  const [isMine, setMine] = useState(false);
  useEffect(() => {
    if (!wanted) return undefined;
    const control = new AbortController();
    let pass = () => {};
    const turn = () => {
      setMine(true);
      return new Promise<void>((resolve) => (pass = resolve));
    };
    // A page that was not served securely has no locks: then each tab is by itself.
    if (navigator.locks) navigator.locks.request(name, { signal: control.signal }, turn).catch(() => {});
    else void turn();
    return () => {
      control.abort();
      pass();
      setMine(false);
    };
  }, [name, wanted]);
  return isMine;
}
