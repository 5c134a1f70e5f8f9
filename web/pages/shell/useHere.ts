import { createContext, useContext } from 'react';
import type { Connection } from '@tidings/client';
import type { Session } from './session';

/** What every page knows: who is signed in, which tenant is looked at, and the connection to its server. */
export interface Here {
  session: Session;
  /** With cookie or token, and `tenant` as its tenant. It opens with the first subscription. */
  connection: Connection;
  /** Empty where an admin of all tenants has not chosen one. */
  tenant: string;
  /** That may be chosen; for an admin of all tenants those that are known of. */
  tenants: readonly string[];
  chooseTenant(tenant: string): void;
  /** Asks the server who is signed in, as after a 401. */
  checkSession(): void;
}

export const HereContext = createContext<Here | null>(null);

export function useHere(): Here {
  const here = useContext(HereContext);
  if (!here) throw new Error('useHere must be used within the shell: begin the page with start()');
  return here;
}
