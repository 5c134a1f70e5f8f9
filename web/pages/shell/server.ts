import type { Options } from '@tidings/client';

/** What a page that is embedded elsewhere sets as `globalThis.tidings` before the script runs. */
export interface Embedding {
  url?: string;
  tenant?: string;
  getToken?: NonNullable<Options['getToken']>;
}

type Scope = { tidings?: Embedding; document?: Document; location?: Location };

/**
 * Where the server is and how to speak to it: what the embedding page says, or `<meta name="tidings-server" content="https://…">`, or the
 * server that this page came from, with the browser's cookie.
 */
export function serverOf(scope: Scope = globalThis as Scope): Embedding & { elsewhere: boolean } {
  const meta = scope.document?.querySelector<HTMLMetaElement>('meta[name="tidings-server"]')?.content;
  const { url = meta, tenant, getToken } = scope.tidings ?? {};
  const elsewhere = Boolean(getToken || (url && new URL(url, scope.location?.href).origin !== scope.location?.origin));
  return { ...(url && { url }), ...(tenant && { tenant }), ...(getToken && { getToken }), elsewhere };
}
