export interface Claims {
  [claim: string]: unknown;
  sub?: unknown;
  exp?: unknown;
}

/**
 * What a JWT says, not verified: that is the server's. Nothing of a token that is none. Letters beyond ASCII are left as the bytes that they are, since
 * texts are only compared.
 */
export function claims(token: string | null): Claims {
  try {
    return JSON.parse(atob(token!.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/'))) as Claims;
  } catch {
    return {};
  }
}
