import type { ReactNode } from 'react';
import { texts } from '../texts';
import { Announcer } from './Announcer';
import { ThemeSwitch } from './ThemeSwitch';
import { Toasts } from './Toasts';

export type PageName = 'index' | 'notifications' | 'chat';

const addresses: Record<PageName, string> = { index: '/', notifications: '/notifications', chat: '/admin/chat' };

/** The frame around every page: what is always there stands before what changes. */
export function Shell({ page, links, search = '', tools, banner, children }: {
  page: PageName;
  /** The pages that may be gone to; none where the page is embedded elsewhere. */
  links: readonly PageName[];
  search?: string;
  tools?: ReactNode;
  banner?: ReactNode;
  children: ReactNode;
}) {
  return (
    <div className="shell" data-page={page}>
      <a className="skip" href="#main">{texts.shell.skip}</a>
      <header className="shell-head">
        <a className="brand" href={links.length ? '/' : undefined} aria-label={texts.shell.product}>
          <svg viewBox="0 0 32 32" aria-hidden="true">
            <rect width="32" height="32" rx="8" fill="currentColor" />
            <path d="M8 10h16M8 16h7M8 22h16" stroke="var(--t-on-accent)" strokeWidth="3" strokeLinecap="round" />
            <circle cx="22" cy="16" r="3" fill="var(--t-on-accent)" />
          </svg>
          <span>{texts.shell.product}</span>
        </a>
        {links.length > 0 && (
          <nav className="t-tabs" aria-label={texts.shell.pages}>
            {links.map((name) => (
              <a key={name} href={addresses[name] + (name === 'index' ? '' : search)} aria-current={name === page ? 'page' : undefined}>{texts.shell.links[name]}</a>
            ))}
          </nav>
        )}
        <div className="shell-tools">{tools}<ThemeSwitch /></div>
      </header>
      <Announcer />
      {banner}
      <main id="main" tabIndex={-1}>{children}</main>
      <Toasts />
    </div>
  );
}
