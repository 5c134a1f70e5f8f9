import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The package is tested from its sources, as the pages use it; `tsconfig.json` says the same to the compiler. */
export default defineConfig({
  resolve: {
    alias: [
      { find: /^@tidings\/client$/, replacement: at('client/src/index.ts') },
      { find: /^@tidings\/client\/(react|vue|query)$/, replacement: `${at('client')}/$1/index.ts` },
    ],
  },
  test: { include: ['client/**/*.test.{ts,tsx}', 'pages/**/*.test.{ts,tsx}'] },
});
