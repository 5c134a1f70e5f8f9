/** What can be done with the chats that are selected, and what became of it. */
import type { CSSProperties } from 'react';
import { Icon } from '../../client/react/icons';
import { canMove, type ChatSession, type SessionMove } from '../../client/store/session';
import type { Sessions } from '../../client/store/sessions';
import { texts } from '../texts';
import { refusalText, type Moves } from './useMoves';

const words = texts.chat;
const order: readonly SessionMove[] = ['assign', 'end', 'archive'];

export function BulkBar({ chosen, shown, isConnected, moves, onMove, onAll, onClear }: {
  chosen: readonly ChatSession[];
  /** How many the list shows. */
  shown: number;
  isConnected: boolean;
  moves: Moves;
  onMove(move: SessionMove, sessions: readonly ChatSession[]): void;
  onAll(): void;
  onClear(): void;
}) {
  const { bulk } = moves;
  const isRunning = bulk !== null && bulk.result === null;
  if (!chosen.length && !isRunning) return null;
  return (
    <div className="bulk" role="group" aria-label={words.selected(chosen.length)}>
      <div className="bulk-line">
        <strong>{isRunning ? words.bulkProgress(bulk.done, bulk.all) : words.selected(chosen.length)}</strong>
        {chosen.length < shown && !isRunning && <button type="button" className="t-button" data-kind="quiet" data-size="small" onClick={onAll}>{words.selectAll(shown)}</button>}
        <button type="button" className="t-icon-button" data-size="small" aria-label={words.clearSelection} disabled={isRunning} onClick={onClear}><Icon name="close" /></button>
      </div>
      {isRunning ? (
        <div className="t-progress" role="progressbar" aria-valuemin={0} aria-valuemax={bulk.all} aria-valuenow={bulk.done} aria-label={words.moves[bulk.move]} style={{ '--t-value': (bulk.done / bulk.all) * 100 } as CSSProperties} />
      ) : (
        <div className="bulk-line">
          {order.map((move) => {
            const able = chosen.filter((session) => canMove(session, move));
            return (
              <button key={move} type="button" className="t-button" data-size="small" disabled={!able.length || !isConnected} title={isConnected ? undefined : words.cannot.offline} onClick={() => onMove(move, able)}>
                {words.bulk(words.moves[move], able.length)}
              </button>
            );
          })}
        </div>
      )}
    </div>
  );
}

export function BulkResult({ sessions, moves }: { sessions: Sessions; moves: Moves }) {
  const { bulk, dismiss } = moves;
  if (!bulk?.result) return null;
  const { done, refused } = bulk.result;
  return (
    <div className="bulk-result" role="status" data-tone="warn">
      <div className="bulk-line">
        <strong>{words.bulkDone[bulk.move](done.length)}. {words.bulkRefused(refused.length)}</strong>
        <button type="button" className="t-icon-button" data-size="small" aria-label={words.dismiss} onClick={dismiss}><Icon name="close" /></button>
      </div>
      <ul>
        {refused.map(({ id, problem }) => <li key={id}><span>{sessions.session(id)?.subject ?? id}</span>: {refusalText(problem)}</li>)}
      </ul>
    </div>
  );
}
