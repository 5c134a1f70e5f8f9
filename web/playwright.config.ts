import { existsSync } from 'node:fs';
import { defineConfig } from '@playwright/test';

/** Debian's Chromium; `CHROMIUM` names another one. Playwright's own download is not used. */
const chromium = [process.env['CHROMIUM'], '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));
if (!chromium) throw new Error('no Chromium found: install the package chromium, or set CHROMIUM to its path');

export default defineConfig({
  testDir: 'e2e',
  outputDir: 'test-results',
  globalSetup: './e2e/support/start.ts',
  workers: 2,
  fullyParallel: true,
  timeout: 60_000,
  // A machine that is busy elsewhere makes a browser miss a moment now and then. What passes at the second try is named as flaky; what is broken fails twice.
  retries: 1,
  expect: { timeout: 15_000 },
  reporter: [['line']],
  use: {
    launchOptions: { executablePath: chromium, args: ['--no-sandbox', '--disable-dev-shm-usage'] },
    screenshot: 'only-on-failure',
    colorScheme: 'light',
  },
});
