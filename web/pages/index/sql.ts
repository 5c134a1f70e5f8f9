/**
 * The SQL behind an event: a statement that makes such an event, and the line that made its table live. Shown to people who try things out, so it
 * is quoted well enough to be pasted, whatever the row holds.
 */
import type { TidingsEvent } from '@tidings/client';

const literal = (text: string) => (text.includes('\\') ? `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "''")}'` : `'${text.replaceAll("'", "''")}'`);
const plain = /^[a-z_][a-z0-9_]*$/;
const name = (text: string) => (plain.test(text) ? text : `"${text.replaceAll('"', '""')}"`);

function value(of: unknown): string {
  if (of === null || of === undefined) return 'null';
  if (typeof of === 'number' || typeof of === 'boolean') return String(of);
  return literal(typeof of === 'string' ? of : JSON.stringify(of));
}

type Fields = Record<string, unknown>;

const fieldsOf = (event: TidingsEvent): Fields => (event.data && typeof event.data === 'object' && !Array.isArray(event.data) ? (event.data as Fields) : {});

/** The events of a table have `/schema/table` as their source. */
export function tableOf(event: TidingsEvent): string | null {
  const parts = event.source.split('/').slice(1);
  if (parts.length !== 2 || parts[0] === 'channel') return null;
  return parts.map((part) => name(part)).join('.');
}

/** `id = 'doc_1'`: the columns that make the subject, as far as the row shows them. */
function where(event: TidingsEvent): string {
  const fields = fieldsOf(event);
  const { subject } = event;
  if (subject === undefined) return '…';
  const key = ['id', ...Object.keys(fields)].find((column) => column in fields && String(fields[column]) === subject);
  if (key) return `${name(key)} = ${value(fields[key])}`;
  const parts = subject.split(',');
  const columns = parts.map((part) => Object.keys(fields).find((column) => String(fields[column]) === part));
  if (columns.every((column) => column !== undefined)) return columns.map((column) => `${name(column)} = ${value(fields[column])}`).join(' and ');
  return `… = ${literal(subject)}`;
}

/** A statement that causes an event like this one. */
export function statementOf(event: TidingsEvent): string {
  const fields = fieldsOf(event);
  const [, first, channel] = event.source.split('/');
  if (first === 'channel') return `select pg_notify(${literal(channel ?? '')}, ${literal(JSON.stringify(event.data))});`;
  const table = tableOf(event);
  if (!table) {
    const more = [event.subject !== undefined && `subject => ${literal(event.subject)}`, event.audience !== undefined && `audience => ${literal(event.audience)}`];
    return `select tidings.emit(${[literal(event.tenant), literal(event.type), literal(JSON.stringify(event.data ?? {})), ...more].filter(Boolean).join(', ')});`;
  }
  const operation = event.type.slice(event.type.lastIndexOf('.') + 1);
  if (operation === 'truncated') return `truncate ${table};`;
  if (operation === 'deleted') return `delete from ${table} where ${where(event)};`;
  if (operation === 'updated') {
    const changed = (event.changed ?? '').split(',').filter((column) => column in fields);
    const set = changed.map((column) => `${name(column)} = ${value(fields[column])}`).join(',\n       ');
    return `update ${table}\n   set ${set || '…'}\n where ${where(event)};`;
  }
  const columns = Object.keys(fields);
  if (!columns.length) return `insert into ${table} default values;`;
  return `insert into ${table} (${columns.map(name).join(', ')})\nvalues (${columns.map((column) => value(fields[column])).join(', ')});`;
}

/** The line that made the table live, or null for what comes from no table. The tenant's column is the one that holds the tenant. */
export function watchOf(event: TidingsEvent): string | null {
  const table = tableOf(event);
  if (!table) return null;
  const fields = fieldsOf(event);
  const tenant = ['tenant_id', 'tenantId', ...Object.keys(fields)].find((column) => fields[column] === event.tenant);
  return `select tidings.watch(${literal(table)}, tenant => ${tenant ? literal(tenant) : "'…'"});`;
}
