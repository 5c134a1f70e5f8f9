/** Which chat is open: it stands in the address, so that it stays over a reload, can be gone back from, and can be sent to a colleague. */
import { useCallback, useEffect, useState } from 'react';

function inAddress(): string | null {
  return new URLSearchParams(location.search).get('session');
}

export function useOpen(): [string | null, (id: string | null) => void] {
  const [open, setOpen] = useState(inAddress);
  useEffect(() => {
    const gone = () => setOpen(inAddress());
    addEventListener('popstate', gone);
    return () => removeEventListener('popstate', gone);
  }, []);
  const show = useCallback((id: string | null) => {
    const address = new URL(location.href);
    if (address.searchParams.get('session') === id) return;
    if (id === null) address.searchParams.delete('session');
    else address.searchParams.set('session', id);
    // From the list into a chat is a step that can be gone back; from one to the next is not.
    if (inAddress() === null) history.pushState(null, '', address);
    else history.replaceState(null, '', address);
    setOpen(id);
  }, []);
  return [open, show];
}
