import type { Connection, Options } from '../src/connection';
import { share, type Place } from '../src/share';

/** A connection that tabs share which meet at a place of the test's. */
export function shared(options: Options, open: typeof import('../src/connect').open, place: Place): Connection {
  return open(options, (own) => Promise.resolve(share(options, own, open, place)));
}
