// Builds the package into `client/dist`: one file for each of its entries, with what they share apart, so that the core is there once; and the declarations.
// npm runs it before it packs. `dist` is not kept in the repository.
import { build } from 'esbuild';
import { execFileSync } from 'node:child_process';
import { readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { entries } from './entries.mjs';

const here = new URL('.', import.meta.url);
await rm(new URL('dist/', here), { recursive: true, force: true });
// Not minified: whose page it is does that, and reads it when something goes wrong.
await build({ ...entries, absWorkingDir: here.pathname, outdir: 'dist', splitting: true, chunkNames: 'part-[hash]' });

const tsc = createRequire(import.meta.url).resolve('typescript/package.json').replace('package.json', 'bin/tsc');
execFileSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: here, stdio: 'inherit' });

// In the sources imports have no extension. Whoever resolves as Node does wants one in declarations.
for (const name of await readdir(new URL('dist/', here), { recursive: true })) {
  if (!name.endsWith('.d.ts')) continue;
  const file = new URL(`dist/${name}`, here);
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace(/((?:from|import\() ?['"])(\.\.?\/[^'"]+)(['"])/g, (_, head, path, tail) => `${head}${path === '../src' ? '../src/index' : path}.js${tail}`));
}
