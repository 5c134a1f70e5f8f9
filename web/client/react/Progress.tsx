import type { CSSProperties, ReactElement } from 'react';
import { texts } from './texts';

/** A bar; `percent` null: under way, and nobody knows how far. */
export function Progress({ of, percent }: { of: string; percent: number | null }): ReactElement {
  return (
    <div
      className="t-progress"
      role="progressbar"
      aria-label={texts.uploads.progressOf(of)}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={percent ?? undefined}
      data-indeterminate={percent === null || undefined}
      style={{ '--t-value': percent ?? 0 } as CSSProperties}
    />
  );
}
