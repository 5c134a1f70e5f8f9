/** What the list shows: a status, a search, an assignee. */
import { useEffect, useRef, useState, type KeyboardEvent } from 'react';
import { Icon } from '../../client/react/icons';
import { sessionStatuses } from '../../client/store/session';
import type { Sessions, SessionsState } from '../../client/store/sessions';
import { texts } from '../texts';

const words = texts.chat;
/** Nobody reads what was found for half a word. */
const searchAfterMs = 250;

export function Filters({ sessions, state, me }: { sessions: Sessions; state: SessionsState; me: string }) {
  return (
    <div className="filters">
      <Tabs sessions={sessions} state={state} />
      <div className="filters-line">
        <Search q={state.view.q} onSearch={(q) => sessions.show({ q })} />
        <label className="filters-assignee">
          <span className="t-visually-hidden">{words.assignees.label}</span>
          <select
            className="t-input"
            value={state.view.assignee === undefined ? 'anyone' : state.view.assignee === null ? 'nobody' : 'me'}
            onChange={({ currentTarget: { value } }) => sessions.show({ assignee: value === 'anyone' ? undefined : value === 'nobody' ? null : me })}
          >
            <option value="anyone">{words.assignees.anyone}</option>
            <option value="me">{words.assignees.me}</option>
            <option value="nobody">{words.assignees.nobody}</option>
          </select>
        </label>
      </div>
    </div>
  );
}

function Tabs({ sessions, state }: { sessions: Sessions; state: SessionsState }) {
  const chosen = state.view.status;
  const keyed = (event: KeyboardEvent<HTMLDivElement>) => {
    const step = event.key === 'ArrowRight' ? 1 : event.key === 'ArrowLeft' ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    const index = sessionStatuses.findIndex((status) => status === chosen);
    const next = sessionStatuses[(index + step + sessionStatuses.length) % sessionStatuses.length]!;
    sessions.show({ status: next });
    event.currentTarget.querySelector<HTMLElement>(`[data-status="${next}"]`)?.focus();
  };
  return (
    <div className="t-tabs" role="tablist" aria-label={words.tabs} onKeyDown={keyed}>
      {sessionStatuses.map((status) => {
        const count = state.counts[status];
        return (
          <button key={status} type="button" role="tab" data-status={status} aria-selected={status === chosen} aria-controls="sessions" tabIndex={status === chosen ? 0 : -1} onClick={() => sessions.show({ status })}>
            {words.statuses[status]}
            {count && <span className="t-badge" {...(status === 'waiting' && count.count > 0 ? { 'data-kind': 'count' } : {})}>{words.count(count.count, count.atLeast)}</span>}
          </button>
        );
      })}
    </div>
  );
}

function Search({ q, onSearch }: { q: string; onSearch(q: string): void }) {
  const [text, setText] = useState(q);
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  // The filter may be taken away elsewhere.
  useEffect(() => setText((typed) => (typed.trim() === q ? typed : q)), [q]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = (typed: string, afterMs: number) => {
    setText(typed);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => onSearch(typed.trim()), afterMs);
  };
  return (
    <div className="t-search filters-search" role="search">
      <Icon name="search" />
      <input
        className="t-input"
        type="search"
        id="chat-search"
        maxLength={200}
        aria-label={words.search}
        placeholder={words.search}
        value={text}
        onInput={({ currentTarget }) => search(currentTarget.value, searchAfterMs)}
        onKeyDown={(event) => {
          if (event.key === 'Enter') search(text, 0);
          if (event.key !== 'Escape') return;
          event.stopPropagation();
          if (text === '') event.currentTarget.blur();
          else search('', 0);
        }}
      />
    </div>
  );
}
