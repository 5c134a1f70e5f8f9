/** What a stream must ask for, so that it holds what each of these subscriptions wants; null: everything. */
import type { Wire } from './link';

interface Wanted {
  readonly types: readonly string[] | null;
  readonly subject: string | null;
}

/** As many as the server takes. */
const GLOBS_MAX = 64;

export function wireOf(tenant: string | null, wanted: readonly Wanted[]): Wire {
  const subject = wanted[0]?.subject ?? null;
  // Of one that wants all, the glob that says so.
  const types = new Set(wanted.flatMap(({ types }) => types ?? '*'));
  return {
    tenant,
    types: types.has('*') || types.size > GLOBS_MAX ? null : [...types].sort(),
    subject: wanted.every((other) => other.subject === subject) ? subject : null,
  };
}

/** Whether what this one wants is in it. */
export function carries(wire: Wire, { types, subject }: Wanted): boolean {
  return (!wire.types || !!types?.every((glob) => wire.types!.includes(glob))) && (wire.subject === null || wire.subject === subject);
}
