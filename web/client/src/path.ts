import type { Wire } from './link';

/** Where a tenant's events are, with what is wanted of them. */
export function pathOf({ tenant, types, subject }: Wire, more: Record<string, string | number | null | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries({ types: types?.join(), subject, ...more })) if (value != null) query.set(name, String(value));
  return `/v1/${tenant === null ? '' : `tenants/${encodeURIComponent(tenant)}/`}events?${query}`;
}
