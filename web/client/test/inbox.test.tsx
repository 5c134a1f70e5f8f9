// @vitest-environment happy-dom
import { act, cleanup, fireEvent, render, renderHook, screen, waitFor, within } from '@testing-library/react';
import { StrictMode, type ReactNode } from 'react';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NotificationBell } from '../react/NotificationBell';
import { NotificationInbox } from '../react/NotificationInbox';
import { ProcessingStatusIndicator } from '../react/ProcessingStatusIndicator';
import { TidingsProvider } from '../react/TidingsProvider';
import { UploadProvider } from '../react/UploadProvider';
import { useDocuments } from '../react/useDocuments';
import { useDocumentStatus } from '../react/useDocumentStatus';
import { useNotificationCounts, useNotifications } from '../react/useNotifications';
import { useUploads } from '../react/useUploads';
import { centre, type Centre } from './centre';

// By roles, happy-dom is slow on a busy machine.
vi.setConfig({ testTimeout: 30_000 });

let server: Centre;
const Providers = ({ children }: { children: ReactNode }) => (
  <StrictMode>
    <TidingsProvider connection={server.connection}>
      <UploadProvider user="ann" upload={async () => ({ url: 'upload:acme/1' })}>
        {children}
      </UploadProvider>
    </TidingsProvider>
  </StrictMode>
);
const settled = () => act(async () => undefined);
const rows = () => screen.queryAllByRole('article').map((row) => within(row).getByRole('heading').textContent);

beforeEach(() => {
  server = centre(3);
});
afterEach(() => {
  cleanup();
  localStorage.clear();
  vi.restoreAllMocks();
});

describe('useNotifications', () => {
  it('loads once under StrictMode, follows, and lets go of everything with the last component', async () => {
    const { result, unmount } = renderHook(() => useNotifications(), { wrapper: Providers });
    expect(result.current.isLoading).toBe(true);
    await waitFor(() => expect(result.current.notifications).toHaveLength(3));
    expect(server.connection.requests.filter(({ path }) => path.endsWith('/notifications'))).toHaveLength(1);
    expect(server.connection.subscriptions).toHaveLength(1);
    act(() => void server.insert());
    expect(result.current.notifications).toHaveLength(4);
    expect(result.current.counts?.unread).toBe(4);
    unmount();
    await settled();
    expect(server.connection.subscriptions).toHaveLength(0);
  });

  it('shares one store between all that show it, so that a badge and its list cannot differ', async () => {
    const { result } = renderHook(() => ({ list: useNotifications({ tab: 'unread' }), badge: useNotificationCounts() }), { wrapper: Providers });
    await waitFor(() => expect(result.current.badge?.unread).toBe(3));
    await act(() => result.current.list.markRead('n000002'));
    expect(result.current.badge?.unread).toBe(2);
    expect(result.current.list.notifications).toHaveLength(2);
    expect(server.connection.subscriptions).toHaveLength(1);
  });

  it('opens nothing when it is rendered on a server', async () => {
    const Shown = () => <p>{useNotifications().notifications.length}</p>;
    expect(renderToString(<TidingsProvider connection={server.connection}><Shown /></TidingsProvider>)).toBe('<p>0</p>');
    await settled();
    expect(server.connection.requests).toEqual([]);
    expect(server.connection.subscriptions).toEqual([]);
  });
});

describe('NotificationInbox', () => {
  it('shows what arrives, and says it once for those who do not see it', async () => {
    const { container } = render(<NotificationInbox />, { wrapper: Providers });
    await waitFor(() => expect(rows()).toHaveLength(3));
    act(() => void (server.insert({ title: 'One' }), server.insert({ title: 'Two' })));
    expect(rows().slice(0, 2)).toEqual(['Two', 'One']);
    await waitFor(() => expect(container.querySelector('[role=status]')?.textContent).toBe('2 new notifications'), { timeout: 10_000 });
  });

  it('archives with e, hands the focus to the next one, and undoes with u', async () => {
    render(<NotificationInbox />, { wrapper: Providers });
    await waitFor(() => expect(rows()).toHaveLength(3));
    act(() => screen.getAllByRole('article')[1]!.focus());
    await act(async () => void fireEvent.keyDown(document.activeElement!, { key: 'e' }));
    expect(rows()).toEqual(['Title 3', 'Title 1']);
    expect(document.activeElement?.getAttribute('data-id')).toBe('n000001');
    expect(screen.getByText('Archived: Title 2', { selector: '.t-undo *' })).toBeTruthy();
    await act(async () => void fireEvent.keyDown(document.activeElement!, { key: 'u' }));
    expect(rows()).toEqual(['Title 3', 'Title 2', 'Title 1']);
    await waitFor(() => expect(server.rows.get('n000002')).toMatchObject({ archived: false, read: false }));
  });

  it('leaves keys alone while somebody writes', async () => {
    render(<><input aria-label="elsewhere" /><NotificationInbox /></>, { wrapper: Providers });
    await waitFor(() => expect(rows()).toHaveLength(3));
    const field = screen.getByLabelText('elsewhere');
    act(() => field.focus());
    fireEvent.keyDown(field, { key: 'j' });
    expect(document.activeElement).toBe(field);
  });

  it('moves between tabs with the arrow keys', async () => {
    render(<NotificationInbox />, { wrapper: Providers });
    const [all] = screen.getAllByRole('tab');
    act(() => all!.focus());
    await act(async () => void fireEvent.keyDown(all!, { key: 'ArrowLeft' }));
    expect(document.activeElement?.textContent).toContain('Documents');
    expect(screen.getByRole('tab', { selected: true }).textContent).toContain('Documents');
    await waitFor(() => expect(screen.getByText('Nothing about documents')).toBeTruthy());
  });

  it('shows hostile rows as text', async () => {
    server.insert({ title: '<img src=x onerror=alert(1)>', message: '<script>alert(1)</script>' });
    const { container } = render(<NotificationInbox />, { wrapper: Providers });
    await waitFor(() => expect(rows()[0]).toBe('<img src=x onerror=alert(1)>'));
    expect(container.querySelector('img, script')).toBeNull();
  });
});

describe('NotificationBell', () => {
  it('counts what is unseen, not more than 99+, and has seen it when it was open for a moment', async () => {
    for (let i = 0; i < 120; i++) server.insert();
    render(<NotificationBell />, { wrapper: Providers });
    const bell = await screen.findByLabelText('Notifications, 123 new', undefined, { timeout: 10_000 });
    expect(bell.textContent).toBe('99+');
    fireEvent.click(bell);
    await waitFor(() => expect(bell.getAttribute('aria-label')).toBe('Notifications'), { timeout: 10_000 });
    expect(server.count('unread')).toBe(123);
  });

  it('closes with Escape, and gives the focus back', async () => {
    render(<NotificationBell />, { wrapper: Providers });
    const bell = screen.getByRole('button', { name: /^Notifications/ });
    fireEvent.click(bell);
    expect(screen.getByRole('dialog')).toBe(document.activeElement);
    await act(async () => void fireEvent.keyDown(document.activeElement!, { key: 'Escape' }));
    expect(screen.queryByRole('dialog')).toBeNull();
    expect(document.activeElement).toBe(bell);
  });
});

describe('useUploads', () => {
  it('says what is missing without a provider', () => {
    vi.spyOn(console, 'error').mockImplementation(() => undefined);
    expect(() => renderHook(() => useUploads())).toThrow('useUploads must be used within an UploadProvider');
  });

  it('keeps uploads over a new mount, as over a new page', async () => {
    const first = renderHook(() => useUploads(), { wrapper: Providers });
    act(() => void first.result.current.addUpload({ fileName: 'Plan.pdf', status: 'processing', progress: 0, tenantId: 'acme', documentId: 'doc_1' }));
    first.unmount();
    await settled();
    const second = renderHook(() => useUploads(), { wrapper: Providers });
    expect(second.result.current.uploads).toMatchObject([{ fileName: 'Plan.pdf', documentId: 'doc_1' }]);
  });

  it('uploads for the tenant that its provider names', async () => {
    const { result } = renderHook(() => useUploads(), {
      wrapper: ({ children }) => <TidingsProvider connection={server.connection}><UploadProvider tenant="other" upload={async () => ({ url: 'u' })}>{children}</UploadProvider></TidingsProvider>,
    });
    await act(async () => result.current.upload([new File(['x'], 'Plan.pdf')]));
    expect(server.connection.requests).toMatchObject([{ method: 'POST', path: '/v1/tenants/other/documents' }]);
    expect(result.current.uploads).toMatchObject([{ tenantId: 'other' }]);
  });

  it('polls for nobody while events come', async () => {
    const { result } = renderHook(() => ({ ...useUploads(), ...useDocumentStatus() }), { wrapper: Providers });
    act(() => void result.current.addUpload({ fileName: 'Plan.pdf', status: 'processing', progress: 0, tenantId: 'acme', documentId: 'doc_1' }));
    expect(result.current.isPolling).toBe(false);
    act(() => server.connection.setStatus({ state: 'connecting' }));
    expect(result.current.isPolling).toBe(true);
  });
});

describe('ProcessingStatusIndicator', () => {
  it('is nothing without uploads, and counts, lists and clears them', async () => {
    const Add = () => {
      const { addUpload } = useUploads();
      const add = () => {
        for (const [status, error] of [['uploading'], ['processing'], ['complete'], ['failed', 'Too large'], ['failed']] as const)
          addUpload({ fileName: `${status}.pdf`, status, progress: 30, tenantId: 'acme', ...(error && { error }) });
      };
      return <button onClick={add}>add</button>;
    };
    const { container } = render(<><ProcessingStatusIndicator /><Add /></>, { wrapper: Providers });
    expect(container.querySelector('.t-indicator')).toBeNull();
    fireEvent.click(screen.getByText('add'));
    fireEvent.click(screen.getByRole('button', { name: 'Documents, 2 in progress' }));
    const dialog = within(screen.getByRole('dialog', { name: 'Document Processing' }));
    for (const text of ['Uploading (30%)', 'Processing...', 'Processing complete', 'Too large', 'Processing failed']) expect(dialog.getByText(text)).toBeTruthy();
    expect(dialog.getAllByRole('definition').map((count) => count.textContent)).toEqual(['1', '1', '1', '2']);
    expect(dialog.getAllByText('just now')).toHaveLength(5);
    fireEvent.click(dialog.getByRole('button', { name: 'Clear completed/failed' }));
    expect(dialog.getAllByRole('listitem')).toHaveLength(2);
    expect(dialog.getAllByRole('term').map((state) => state.textContent)).toEqual(['Uploading', 'Processing']);
    expect(dialog.queryByRole('button', { name: 'Clear completed/failed' })).toBeNull();
    fireEvent.click(dialog.getByRole('button', { name: 'Close' }));
    expect(screen.queryByRole('dialog')).toBeNull();
  });
});

describe('useDocuments', () => {
  const document = { id: 'doc_1', name: 'Plan.pdf', status: 'failed', stage: null, progress: null, error: { code: 'x', message: 'y' }, created_at: '2026-11-20T14:57:31+00:00' };

  it('follows the list from its cursor on', async () => {
    server.connection.answer('GET', '/v1/tenants/acme/documents', { documents: [document], next: null, cursor: 'c7' });
    const { result } = renderHook(() => useDocuments(), { wrapper: Providers });
    await waitFor(() => expect(result.current.documents).toHaveLength(1));
    expect(server.connection.subscriptions.find(({ filter }) => filter.types?.includes('documents.*'))?.filter.after).toBe('c7');
    act(() => void server.connection.emit('documents.inserted', { ...document, id: 'doc_2', created_at: '2026-11-20T14:58:00+00:00' }, { subject: 'doc_2' }));
    act(() => void server.connection.emit('documents.updated', { ...document, status: 'processing', error: null }, { subject: 'doc_1' }));
    expect(result.current.documents.map(({ id, status }) => [id, status])).toEqual([['doc_2', 'failed'], ['doc_1', 'processing']]);
    act(() => void server.connection.emit('documents.deleted', { id: 'doc_2' }, { subject: 'doc_2' }));
    expect(result.current.documents).toHaveLength(1);
  });

  it('shows another try at once, and takes it back when it is refused', async () => {
    server.connection.answer('GET', '/v1/tenants/acme/documents', { documents: [document], next: null, cursor: 'c7' });
    const { result } = renderHook(() => useDocuments(), { wrapper: Providers });
    await waitFor(() => expect(result.current.documents).toHaveLength(1));
    let attempt!: Promise<void>;
    act(() => void (attempt = result.current.retry('doc_1')));
    expect(result.current.documents[0]).toMatchObject({ status: 'processing', error: null });
    await act(async () => expect(attempt).rejects.toMatchObject({ code: 'not_found' }));
    expect(result.current.documents[0]).toMatchObject({ status: 'failed', error: { message: 'y' } });
  });
});
