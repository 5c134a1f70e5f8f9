/** Once before all tests: a PostgreSQL, the reference tables, what is watched, and a bridge that most tests share. */
import { Bridge, tidings } from './bridge';
import { startPostgres } from './postgres';

export default async function start(): Promise<() => Promise<void>> {
  const postgres = await startPostgres();
  try {
    tidings(postgres.url, 'migrate', '--app');
    tidings(postgres.url, 'triggers', 'apply');
    const bridge = await Bridge.start(postgres.url);
    process.env['E2E_DATABASE'] = postgres.url;
    process.env['E2E_BRIDGE'] = bridge.url;
    return async () => {
      await bridge.stop();
      await postgres.stop();
    };
  } catch (error) {
    await postgres.stop();
    throw error;
  }
}
