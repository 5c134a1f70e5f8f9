import type { Connection } from '../src/connection';
import { watched, type Watched } from './watched';

/** A row of the table `cases`, as the recipe in docs/recipes/cases.sql makes it. Wider tables merge their columns into it. */
export interface Case {
  id: string;
  title: string;
  status: CaseStatus;
  results: unknown;
  error: { code: string; message: string } | null;
  /** Where the table has one: percent. */
  progress?: number | null;
  created_at: string;
  updated_at: string;
}

export type CaseStatus = 'uploaded' | 'pending' | 'processing' | 'completed' | 'failed';

export interface CaseOptions {
  /** That of the connection, or the first one that the token is for, where it is left out. */
  tenant?: string;
  /** Of a watched table with other names. */
  table?: string;
}

/** How often a case is asked for while events do not arrive. What has failed may be tried again, so the server's advice holds. */
const pollAfterMs: Partial<Record<CaseStatus, number>> = { processing: 3_000, pending: 10_000, uploaded: 10_000, completed: 0 };

/** A case and how far it is; what `useCaseNotifications` of React and of Vue show. */
export function watchedCase(connection: Connection, id: string, { tenant, table = 'cases' }: CaseOptions = {}): Watched<Case> {
  return watched<Case>(connection, table, id, {
    tenant: tenant ?? (async () => (await connection.request<{ tenants: string[] | null }>('GET', '/v1/session')).tenants?.[0] ?? ''),
    pollAfter: ({ status }, advised) => pollAfterMs[status] ?? advised,
  });
}
