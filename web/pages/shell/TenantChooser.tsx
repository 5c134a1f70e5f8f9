import { useState } from 'react';
import { texts } from '../texts';
import { useHere } from './useHere';

/** Where there is more than one tenant to look at. An admin of all tenants may also type a name that was not heard of yet. */
export function TenantChooser() {
  const { session, tenant, tenants, chooseTenant } = useHere();
  const [typed, setTyped] = useState(tenant);
  if (session.tenants === null) {
    return (
      <form onSubmit={(event) => { event.preventDefault(); if (typed.trim()) chooseTenant(typed.trim()); }}>
        <input
          className="t-input"
          aria-label={texts.shell.tenant}
          placeholder={texts.shell.tenant}
          list="shell-tenants"
          value={typed}
          onInput={(event) => {
            const { value } = event.currentTarget;
            setTyped(value);
            if (tenants.includes(value)) chooseTenant(value);
          }}
        />
        <datalist id="shell-tenants">{tenants.map((name) => <option key={name} value={name} />)}</datalist>
      </form>
    );
  }
  if (tenants.length < 2) return tenants.length ? <span className="t-chip t-truncate" title={texts.shell.tenant}>{tenant}</span> : null;
  return (
    <select className="t-input" aria-label={texts.shell.tenant} value={tenant} onChange={(event) => chooseTenant(event.currentTarget.value)}>
      {tenants.map((name) => <option key={name}>{name}</option>)}
    </select>
  );
}
