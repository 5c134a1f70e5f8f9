import { useCallback, useEffect, useId, useRef, useState, type FormEvent } from 'react';
import type { TransportName } from '@tidings/client';
import { Icon } from '../../client/react/icons';
import { usePointing } from '../../client/react/usePointing';
import { useStore } from '../../client/react/useStore';
import { texts } from '../texts';
import type { Column, ColumnState } from './column';
import { EventRow } from './EventRow';
import { LatencyPlot } from './LatencyPlot';

const says = texts.index;
const transports: readonly TransportName[] = ['sse', 'websocket', 'poll'];

export function ColumnView({ column, side, tenants, anyTenant, mayPublish, name }: {
  column: Column;
  /** Both columns may be of one tenant: then this tells them apart. */
  side: string;
  tenants: readonly string[];
  /** An admin of all tenants may type one that is not in the list. */
  anyTenant: boolean;
  mayPublish: boolean;
  name: string;
}) {
  const state = useStore(column);
  const [document, setDocument] = useState(name);
  const id = useId();
  const insert = (event: FormEvent) => {
    event.preventDefault();
    void column.insert(document.trim() || 'untitled.pdf');
  };
  return (
    <section className="t-card stream" data-transport={state.transport} aria-label={says.streamOf(state.tenant, side)}>
      <div className="t-line">
        <h2 className="stream-head">
          <span className="t-muted">{says.tenant}</span>
          <Tenant {...{ state, tenants, anyTenant }} choose={column.choose} />
        </h2>
        <StateChip state={state} />
        <fieldset className="t-segments">
          <legend className="t-visually-hidden">{says.transport}</legend>
          {transports.map((transport) => (
            <label key={transport}>
              <input type="radio" name={`${id}transport`} checked={transport === state.transport} onChange={() => column.switchTo(transport)} />
              {says.transports[transport]}
            </label>
          ))}
        </fieldset>
      </div>
      <dl className="t-tiles stream-figures">
        <div className="t-tile"><dt>{says.events}</dt><dd data-figure="total">{state.total.toLocaleString()}</dd></div>
        <div className="t-tile"><dt>{says.perSecond}</dt><dd>{state.perSecond < 99.95 ? state.perSecond.toFixed(1) : Math.round(state.perSecond).toLocaleString()}</dd></div>
        <div className="t-tile"><dt>{says.missed(state.checked)}</dt><dd data-figure="missed" data-tone={state.missed ? 'bad' : undefined}>{state.missed}</dd></div>
        <div className="t-tile"><dt>{says.foreign}</dt><dd data-figure="foreign" data-tone={state.foreign ? 'bad' : undefined}>{state.foreign}</dd></div>
      </dl>
      <LatencyPlot samples={state.latencies} />
      <form className="act" onSubmit={insert}>
        <input className="t-input" aria-label={says.documentName} value={document} maxLength={200} autoComplete="off" spellCheck={false} onInput={(event) => setDocument(event.currentTarget.value)} />
        <button className="t-button" data-kind="primary"><Icon name="plus" />{says.insert}</button>
        <button type="button" className="t-button" disabled={!mayPublish} title={mayPublish ? undefined : says.mayNotPublish} onClick={() => void column.publish()}>{says.publish}</button>
        <Leave column={column} state={state} />
      </form>
      <p className="note" role="status" data-tone={state.note.tone ?? undefined}>{state.note.text}</p>
      <Feed column={column} state={state} side={side} />
    </section>
  );
}

function Tenant({ state, tenants, anyTenant, choose }: { state: ColumnState; tenants: readonly string[]; anyTenant: boolean; choose: (tenant: string) => void }) {
  const id = useId();
  const [typed, setTyped] = useState(state.tenant);
  useEffect(() => setTyped(state.tenant), [state.tenant]);
  // A name in the making is no tenant: what is typed counts when it is known, entered or left.
  const take = (name: string) => {
    if (name && name !== state.tenant) choose(name);
  };
  if (!anyTenant) {
    return (
      <select className="t-input" aria-label={says.tenant} value={state.tenant} onChange={(event) => choose(event.currentTarget.value)}>
        {tenants.map((name) => <option key={name}>{name}</option>)}
      </select>
    );
  }
  return (
    <>
      <input
        className="t-input"
        aria-label={says.tenant}
        placeholder={says.tenant}
        value={typed}
        list={id}
        autoComplete="off"
        spellCheck={false}
        onInput={({ currentTarget: { value } }) => {
          setTyped(value);
          if (tenants.includes(value)) take(value);
        }}
        onBlur={() => take(typed.trim())}
        onKeyDown={({ key }) => key === 'Enter' && take(typed.trim())}
      />
      <datalist id={id}>{tenants.map((name) => <option key={name} value={name} />)}</datalist>
    </>
  );
}

/** Seconds that pass while something is waited for. */
function useSeconds(until: number | null | undefined): number {
  const [now, setNow] = useState(Date.now);
  useEffect(() => {
    if (!until) return;
    const timer = setInterval(() => setNow(Date.now()), 250);
    return () => clearInterval(timer);
  }, [until]);
  return until ? Math.max(0, Math.ceil((until - Math.max(now, Date.now())) / 1_000)) : 0;
}

function StateChip({ state: { status, awayUntil } }: { state: ColumnState }) {
  const seconds = useSeconds(awayUntil ?? status?.retryAt);
  const kind = awayUntil ? 'away' : status?.state ?? 'connecting';
  const tone = kind === 'connected' || kind === 'polling' ? 'good' : kind === 'closed' ? 'bad' : 'warn';
  const text = kind === 'away' ? says.awayFor(seconds) : kind === 'connecting' && status?.retryAt ? says.retryIn(seconds) : says.states[kind];
  return (
    <span className="t-chip stream-state" data-tone={tone} data-state={kind}>
      <span className="t-dot" data-shape={kind === 'away' ? 'square' : kind === 'closed' ? 'diamond' : tone === 'warn' ? 'ring' : undefined} />
      {text}
    </span>
  );
}

function Leave({ column, state }: { column: Column; state: ColumnState }) {
  const away = state.awayUntil !== null;
  const closed = state.status?.state === 'closed';
  const live = state.status?.state === 'connected' || state.status?.state === 'polling';
  return (
    <button type="button" className="t-button leave" disabled={!away && !closed && !live} onClick={() => void (away || closed ? column.comeBack() : column.leave())}>
      {away ? says.comeBack : closed ? says.connectAgain : says.leave}
    </button>
  );
}

/** A reader's open row must not slide away, nor one that holds the keyboard's focus or is being pointed at: meanwhile newer ones wait. */
function Feed({ column, state, side }: { column: Column; state: ColumnState; side: string }) {
  const list = useRef<HTMLOListElement>(null);
  const scroller = useRef<HTMLDivElement>(null);
  const isPointing = useRef(false);
  const look = useCallback(() => column.read(isPointing.current || Boolean(list.current?.querySelector('details[open], summary:focus-visible'))), [column]);
  usePointing(scroller, (is) => {
    isPointing.current = is;
    look();
  });
  const showNewer = () => {
    for (const open of list.current?.querySelectorAll<HTMLDetailsElement>('details[open]') ?? []) open.open = false;
    scroller.current?.scrollTo({ top: 0 });
    scroller.current?.focus();
    column.read(false);
  };
  return (
    <div className="feed">
      {state.held > 0 && <button type="button" className="t-pill held" onClick={showNewer}>{says.newer(state.held)}</button>}
      <div className="scroll" ref={scroller} tabIndex={0} role="region" aria-label={says.newestOf(state.tenant, side)}>
        <ol ref={list} className="events" onFocusCapture={look} onBlurCapture={() => requestAnimationFrame(look)}>
          {state.rows.map((row) => <EventRow key={row.key} row={row} toggled={look} />)}
        </ol>
        {!state.total && <p className="t-empty"><Icon name="bell" /><strong>{says.nothingYet}</strong><span>{says.nothingYetWhy}</span></p>}
      </div>
    </div>
  );
}
