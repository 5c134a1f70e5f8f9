import { describe, expect, it } from 'vitest';
import type { TidingsEvent } from '@tidings/client';
import { statementOf, watchOf } from '../index/sql';

const event = (more: Partial<TidingsEvent>): TidingsEvent => ({
  specversion: '1.0',
  source: '/public/documents',
  type: 'documents.inserted',
  time: '2026-11-20T14:57:31.418752Z',
  tenant: 'acme',
  subject: 'doc_1',
  data: { id: 'doc_1', tenant_id: 'acme', name: "Ann's plan", progress: null, metadata: { pages: 3 } },
  ...more,
});

describe('the SQL behind an event', () => {
  it('is an insert with the values of the row', () => {
    expect(statementOf(event({}))).toBe(
      `insert into public.documents (id, tenant_id, name, progress, metadata)\nvalues ('doc_1', 'acme', 'Ann''s plan', null, '{"pages":3}');`,
    );
  });

  it('is an update of what changed, of the row that the subject names', () => {
    const update = event({ type: 'documents.updated', changed: 'name,progress', data: { id: 'doc_1', name: 'Plan', progress: 40 } });
    expect(statementOf(update)).toBe("update public.documents\n   set name = 'Plan',\n       progress = 40\n where id = 'doc_1';");
  });

  it('finds each column of a composite key', () => {
    const gone = event({ type: 'members.deleted', source: '/public/members', subject: '7,ann', data: { team: 7, person: 'ann' } });
    expect(statementOf(gone)).toBe("delete from public.members where team = 7 and person = 'ann';");
  });

  it('leaves a key open that the row does not show', () => {
    expect(statementOf(event({ type: 'documents.deleted', data: {} }))).toBe("delete from public.documents where … = 'doc_1';");
  });

  it('quotes names and values, whatever a row holds', () => {
    const odd = event({ source: '/public/Chat "x"', data: { 'drop table': "'); drop table a; --", back: 'a\\' } });
    expect(statementOf(odd)).toBe(`insert into public."Chat ""x""" ("drop table", back)\nvalues ('''); drop table a; --', E'a\\\\');`);
  });

  it('is an emit or a notify for what comes from no table', () => {
    expect(statementOf(event({ source: '/emit', type: 'invoice.paid', subject: 'i7', audience: 'ann', data: { sum: 1 } }))).toBe(
      `select tidings.emit('acme', 'invoice.paid', '{"sum":1}', subject => 'i7', audience => 'ann');`,
    );
    expect(statementOf(event({ source: '/channel/jobs', type: 'jobs.done', data: { job: 1 } }))).toBe(`select pg_notify('jobs', '{"job":1}');`);
  });

  it('names the line that made the table live, with the column that holds the tenant', () => {
    expect(watchOf(event({ data: { id: 'doc_1', org: 'acme' } }))).toBe("select tidings.watch('public.documents', tenant => 'org');");
    expect(watchOf(event({ source: '/emit' }))).toBeNull();
    expect(watchOf(event({ source: '/channel/jobs' }))).toBeNull();
  });
});
