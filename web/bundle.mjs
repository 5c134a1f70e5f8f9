// How the pages are made from their sources: for `build.mjs`, which keeps them in `dist/`, and for `serve.mjs`, which shows them while they are written.
// Pages are written with the package's React hooks and components; Preact stands in for React, for its size.
import { readFile } from 'node:fs/promises';

/** Each page by the name of its files, and where it is served. */
export const addresses = { index: '/', notifications: '/notifications', chat: '/admin/chat' };
export const pages = Object.keys(addresses);

/** The document of a page: they differ in the files that they load. */
export const documentOf = async (page) => (await readFile(new URL('pages/page.html', import.meta.url), 'utf8')).replaceAll('PAGE', page);

export const bundle = {
  absWorkingDir: new URL('.', import.meta.url).pathname,
  entryPoints: Object.fromEntries(pages.map((page) => [page, `pages/${page}/main.tsx`])),
  outdir: 'dist',
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  jsx: 'automatic',
  alias: { react: 'preact/compat', 'react-dom/client': 'preact/compat/client', 'react/jsx-runtime': 'preact/jsx-runtime' },
  banner: { js: '/* Holds Preact, (c) Jason Miller, MIT licence: https://github.com/preactjs/preact/blob/main/LICENSE */' },
  write: false,
};

/** The client by itself, as one file, for pages that are written without a build. */
export const client = { ...bundle, entryPoints: { client: 'client/src/index.ts' }, banner: {} };
