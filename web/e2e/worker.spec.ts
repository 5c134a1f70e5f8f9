/** The client in workers: they have no document and none of its events, and get theirs all the same. */
import { application } from './support/application';
import { expect, test } from './support/test';

/** Of a worker: says its status, and each event. */
const worker = `
  import { connect } from '@tidings/client';
  function work(options, say) {
    const connection = connect({ ...options, getToken: () => fetch('/token').then((answer) => answer.text()) });
    connection.subscribe({ types: ['order.*'] }, {
      event: (event) => say('event ' + event.data.n),
      ready: () => say([connection.status.state, connection.status.transport, connection.status.shared, connection.status.leads].join(' ')),
    });
  }
  self.onmessage = ({ data }) => work(data, (text) => postMessage(text));
  self.onconnect = ({ ports: [port] }) => (port.onmessage = ({ data }) => work(data, (text) => port.postMessage(text)));
`;

const page = (open: string) => `
  const { url, tenant, transport } = Object.fromEntries(new URLSearchParams(location.search));
  const worker = ${open};
  worker.onmessage = ({ data }) => document.body.append(Object.assign(document.createElement('p'), { textContent: data }));
  worker.postMessage({ url, tenant, transport });
`;

for (const [kind, open] of [['a worker', `new Worker('/worker.js', { type: 'module' })`], ['a shared worker', `new SharedWorker('/worker.js', { type: 'module' }).port`]] as const)
  for (const transport of ['websocket', 'sse', 'poll'])
    test(`${kind} gets events by ${transport}`, async ({ acme, ask, bridge, browser }) => {
      const site = await application({ sub: 'ann', tenants: [acme] }, { 'main.js': page(open), 'worker.js': worker });
      const { url } = await bridge({ TIDINGS__HTTP__ORIGINS: JSON.stringify([site.origin]) });
      const context = await browser.newContext();
      const tab = await context.newPage();
      await tab.goto(`${site.origin}/?${new URLSearchParams({ url, tenant: acme, transport })}`);
      await expect(tab.getByText(`${transport === 'poll' ? 'polling' : 'connected'} ${transport} false true`)).toBeVisible();
      await ask({ sub: 'shop', tenants: [acme], role: 'service' }, 'POST', `/v1/tenants/${acme}/events`, { type: 'order.made', data: { n: 7 } });
      await expect(tab.getByText('event 7')).toBeVisible();
      await context.close();
      site.close();
    });
