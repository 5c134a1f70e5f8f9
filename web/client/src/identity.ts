/**
 * Which tabs may share a connection: those of one user at one server. The name of their channel and lock is a hash, so it holds
 * no token, and tabs of another user, or of another version of what is said between tabs, meet elsewhere.
 */

import { claims } from './claims';

/** Of what tabs say to each other: raise it with any change of `leader.ts` or `line.ts` that an older page would not understand. */
const VERSION = 1;

/** What differs between two tokens of one user. All else of the payload counts: which claims hold rights is the server's to say. */
const PASSING = ['exp', 'iat', 'nbf', 'jti'];

/** Whose a token is, read and not verified: a forged one leads to a group whose leader the server refuses. Opaque ones are nobody else's. */
export function whose(token: string): unknown {
  const all = Object.entries(claims(token)).filter(([claim]) => !PASSING.includes(claim));
  return all.length ? all : token;
}

/** The name of a group of tabs. */
export async function groupName(of: unknown[]): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(JSON.stringify(of)));
  return `tidings ${VERSION} ` + Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
