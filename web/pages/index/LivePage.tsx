import { useEffect, useMemo, useState } from 'react';
import { connect } from '@tidings/client';
import { useStore } from '../../client/react/useStore';
import { serverOf, useHere } from '../shell';
import { texts } from '../texts';
import { openCauses } from './causes';
import { openColumn, type Column } from './column';
import { ColumnView } from './ColumnView';
import { Explanation } from './Explanation';
import { Connections } from './Connections';
import { listenOnWire } from './wire';

const says = texts.index;
const sides = ['left', 'right'] as const;

/** Two tenants side by side, over two transports: what is committed for the one never shows at the other. */
export function LivePage() {
  const { session, tenants, checkSession } = useHere();
  const columns = useColumns(tenants, session.tenants === null);
  useEffect(() => {
    if (!columns) return;
    const ends = columns.map((column) => column.subscribe(() => column.get().status?.reason === 'unauthorised' && checkSession()));
    return () => ends.forEach((end) => end());
  }, [columns]);
  if (!columns) return null;
  return (
    <div className="live">
      <div className="live-head">
        <h1>{says.title}</h1>
        <p className="t-muted">{says.lead}</p>
      </div>
      <div className="streams">
        {columns.map((column, at) => (
          <ColumnView key={at} column={column} side={says.sides[sides[at]!]} tenants={tenants} anyTenant={session.tenants === null} mayPublish={session.role !== 'member'} name={at ? 'minutes.pdf' : 'invoice.pdf'} />
        ))}
      </div>
      {session.role === 'admin' && <Connections />}
      <Curl column={columns[0]!} />
    </div>
  );
}

/** The chosen tenants survive a reload, in the address. */
function useColumns(tenants: readonly string[], any: boolean): readonly [Column, Column] | null {
  const [columns, setColumns] = useState<readonly [Column, Column] | null>(null);
  const known = tenants.join();
  useEffect(() => {
    const wire = listenOnWire();
    const causes = openCauses();
    const { url, getToken } = serverOf();
    const asked = new URLSearchParams(location.hash.slice(1));
    const pick = (at: number) => {
      const wanted = asked.get(sides[at]!);
      return wanted && (any || tenants.includes(wanted)) ? wanted : tenants[at] ?? tenants[0] ?? '';
    };
    const needs = {
      open: (options: Parameters<typeof connect>[0]) => connect({ ...options, ...(url && { url }), ...(getToken && { getToken }), fetch: wire.fetch, WebSocket: wire.WebSocket }),
      bytesOf: wire.bytesOf,
      causes,
    };
    const made = [openColumn({ ...needs, tenant: pick(0), transport: 'sse' }), openColumn({ ...needs, tenant: pick(1), transport: 'websocket' })] as const;
    const remember = () => {
      const hash = new URLSearchParams(made.map((column, at) => [sides[at]!, column.get().tenant])).toString();
      if (location.hash.slice(1) !== hash) history.replaceState(null, '', `#${hash}`);
    };
    remember();
    const ends = made.map((column) => column.subscribe(remember));
    setColumns(made);
    return () => {
      ends.forEach((end) => end());
      made.forEach((column) => column.close());
    };
  }, [any ? '' : known, any]);
  // An admin of all tenants has no list at first: names come with the first events, for columns that were given none meanwhile.
  useEffect(() => {
    if (any) columns?.forEach((column, at) => column.get().tenant || column.choose(tenants[at] ?? tenants[0] ?? ''));
  }, [columns, known]);
  return columns;
}

function Curl({ column }: { column: Column }) {
  const tenant = useStore(column, (state) => state.tenant);
  return useMemo(() => <Explanation tenant={tenant} />, [tenant]);
}
