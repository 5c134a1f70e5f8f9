/** What the buttons of this page caused, so that its event can be told from the others when it comes, in whichever column. */
import type { TidingsEvent } from '@tidings/client';

export interface Cause {
  /** "Inserted doc_1" */
  what: string;
  pressedAt: number;
  answerMs: number;
  /** The columns that have said so. */
  told: Set<object>;
}

export interface Causes {
  add(tenant: string, key: { subject: string } | { id: string }, cause: Cause): void;
  of(event: TidingsEvent): Cause | null;
}

export function openCauses(): Causes {
  const known = new Map<string, Cause>();
  return {
    add(tenant, key, cause) {
      known.set('id' in key ? `${tenant} event ${key.id}` : `${tenant} row ${key.subject}`, cause);
    },
    of: ({ tenant, subject, id }) => known.get(`${tenant} row ${subject}`) ?? known.get(`${tenant} event ${id}`) ?? null,
  };
}
