/** When a client that was cut off tries again: as many do so at once, each must choose a moment of its own. */
import { describe, expect, it } from 'vitest';
import { backoff } from '../src/backoff';

const attempts = [0, 1, 2, 3, 4, 5, 6, 20];
const first = () => 0;
const last = () => 1;

describe('trying again', () => {
  it('waits longer from attempt to attempt, up to twenty seconds, and anywhere in that time', () => {
    expect(attempts.map((failed) => backoff(failed, last, null))).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 20_000, 20_000, 20_000]);
    expect(attempts.map((failed) => backoff(failed, first, null))).toEqual(attempts.map(() => 500));
  });

  it('is never sooner than the server asked for, and not for all at the same moment', () => {
    expect(backoff(0, first, 7_000)).toBe(7_000);
    expect(backoff(0, last, 7_000)).toBe(7_500);
    expect(backoff(6, last, 7_000)).toBe(20_000);
  });
});
