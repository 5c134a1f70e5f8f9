// Builds the pages into `dist/`, which is kept in the repository: the binary embeds it, and building the binary needs no Node.
//   node build.mjs            builds
//   node build.mjs --check    fails where `dist/` is not what the sources make
import { build } from 'esbuild';
import { mkdir, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { bundle, client, documentOf, pages } from './bundle.mjs';

const here = new URL('.', import.meta.url);
const at = (path) => new URL(path, here);

const [ofPages, ofClient] = await Promise.all([build(bundle), build(client)]);

const made = new Map();
for (const { path, text } of [...ofPages.outputFiles, ...ofClient.outputFiles]) made.set(path.slice(path.lastIndexOf('/') + 1), text);
for (const page of pages) made.set(`${page}.html`, await documentOf(page));

const kept = await readdir(at('dist/')).catch(() => []);
if (process.argv.includes('--check')) {
  const stale = [];
  for (const name of new Set([...kept, ...made.keys()])) {
    const now = await readFile(at(`dist/${name}`), 'utf8').catch(() => null);
    if (now !== (made.get(name) ?? null)) stale.push(name);
  }
  if (stale.length) {
    console.error(`web/dist is not what the sources make: ${stale.join(', ')}. Run: npm run build --prefix web`);
    process.exit(1);
  }
} else {
  await mkdir(at('dist/'), { recursive: true });
  for (const name of kept) if (!made.has(name)) await rm(at(`dist/${name}`));
  for (const [name, text] of made) await writeFile(at(`dist/${name}`), text);
}
for (const [name, text] of made) console.log(`${name.padEnd(22)} ${(text.length / 1024).toFixed(1)} KiB`);
