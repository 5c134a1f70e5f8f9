// What each part of the package costs a page: minified and compressed, React, Vue and TanStack Query left out. As a page's bundler makes it: one file of all
// that an entry imports, and one for each part that comes when it is wanted, without what is there already.
// Fails above the budgets. Where one is exceeded for good reason, it is raised here, in the open.
import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';
import { entries } from './client/entries.mjs';

/**
 * Bytes. `react` and `vue` are with the core, which a page that uses several of them loads once. A third of react are the inbox, uploads and documents
 * with their stores, which a page that does not import them does not pay for.
 */
const budgets = { index: 6_144, react: 32_256, vue: 7_680, query: 640 };
/** Of tab sharing, of a WebSocket, of the ways round where that does not do, and of cursors that outlive a page. */
const budgetsOfParts = { share: 3_072, websocket: 1_280, detour: 2_304, kept: 512 };

const absWorkingDir = new URL('./client/', import.meta.url).pathname;

/** One file, without what comes when it is wanted and what is there already. */
async function made(entry, there = []) {
  const parts = new Set();
  const apart = {
    name: 'apart',
    setup(building) {
      building.onResolve({ filter: /^\./ }, async ({ path, kind, importer, resolveDir, pluginData }) => {
        if (pluginData === 'asked' || kind === 'entry-point') return;
        const found = await building.resolve(path, { kind, importer, resolveDir, pluginData: 'asked' });
        if (kind === 'dynamic-import') parts.add(found.path);
        return kind === 'dynamic-import' || there.includes(found.path) ? { path, external: true } : { path: found.path };
      });
    },
  };
  const { outputFiles, metafile } = await build({ ...entries, absWorkingDir, entryPoints: [entry], outdir: 'dist', minify: true, metafile: true, write: false, plugins: [apart] });
  return { bytes: gzipSync(outputFiles[0].text, { level: 9 }).length, files: Object.keys(metafile.inputs).map((file) => absWorkingDir + file), parts };
}

let exceeded = false;
function report(name, bytes, budget) {
  exceeded ||= !(bytes <= budget);
  console.log(`${name.padEnd(8)}${String(bytes).padStart(7)} of ${budget} bytes${bytes <= budget ? '' : '  TOO LARGE'}`);
}
for (const [name, entry] of Object.entries(entries.entryPoints)) {
  const { bytes, files, parts } = await made(entry);
  report(name, bytes, budgets[name]);
  if (name !== 'index') continue;
  for (const part of parts) {
    const called = /(\w+)\.ts$/.exec(part)[1];
    report(`  ${called}`, (await made(part, files)).bytes, budgetsOfParts[called]);
  }
}
if (exceeded) process.exit(1);
