import { useEffect, useRef, useState } from 'react';
import { connect } from '../src';
import type { Connection, Options } from '../src/connection';

interface Owned {
  connection: Connection;
  key: string;
  holders: number;
  gone: boolean;
}

/**
 * A connection that belongs to this component: made when it is first rendered, closed after it is gone, replaced when the server, the tenant or
 * `identity` is another. `connect` opens nothing before something is subscribed to, which no render does, so neither a server's render nor
 * one that React throws away leaves anything open. Null: none is wanted.
 */
export function useOwnConnection(options: Options | null, identity = ''): Connection | null {
  const { url, tenant, transport, share, clientName } = options ?? {};
  const key = options && JSON.stringify([String(url ?? ''), tenant, transport, share, clientName, identity]);
  // The last function that was passed is asked, so that one written in the component need not be kept.
  const latest = useRef(options);
  latest.current = options;

  const open = (): Owned | null => {
    if (key === null) return null;
    const { getToken, ...rest } = options!;
    const made = connect({ ...rest, ...(getToken && { getToken: (why) => latest.current?.getToken?.(why) ?? null }) });
    return { connection: made, key, holders: 0, gone: false };
  };
  const [owned, replace] = useState(open);

  useEffect(() => {
    if (owned?.gone || (owned?.key ?? null) !== key) {
      replace(open());
      return undefined;
    }
    if (!owned) return undefined;
    owned.holders += 1;
    return () => {
      owned.holders -= 1;
      // Not at once: StrictMode takes every effect away once and sets it up again.
      queueMicrotask(() => {
        if (owned.holders || owned.gone) return;
        owned.gone = true;
        owned.connection.close();
      });
    };
    // `open` is of the render whose key this is, so it need not be named.
  }, [owned, key]);

  return owned && owned.key === key ? owned.connection : null;
}
