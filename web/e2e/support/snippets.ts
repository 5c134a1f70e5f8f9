/** The code blocks of the pages in docs, which these tests compile and execute as they stand there. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build, type Plugin } from 'esbuild';
import { compileScript, parse } from 'vue/compiler-sfc';

const web = fileURLToPath(new URL('../../', import.meta.url));

export interface Snippet {
  language: string;
  /** Where its first line is a comment with a path. */
  file: string | null;
  code: string;
}

/** Those below one heading. */
export function snippets(heading: string, page = 'clients.md'): Snippet[] {
  const text = readFileSync(`${web}../docs/${page}`, 'utf8');
  const section = text.split(/^## /m).find((part) => part.startsWith(`${heading}\n`));
  if (!section) throw new Error(`docs/${page} has no heading ${heading}`);
  return [...section.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language = '', code = '']) => ({ language, file: /^\/\/ (\S+\.\w+)\n/.exec(code)?.[1] ?? null, code }));
}

/** Those below a heading that are whole files. */
export function files(heading: string, page = 'clients.md'): Record<string, string> {
  return Object.fromEntries(snippets(heading, page).flatMap(({ file, code }) => (file === null ? [] : [[file, code]])));
}

/** The one below a heading that shows a whole file, as readers would have it beside others of theirs. */
export function shownFile(heading: string, page: string): { file: string; code: string } {
  const [shown, more] = Object.entries(files(heading, page));
  if (!shown || more) throw new Error(`docs/${page}, ${heading}: one file was expected`);
  return { file: shown[0], code: shown[1] };
}

/** What the compiler says of files, as strictly as it looks at the sources of the package; nothing where all is well. */
export function complaints(name: string, files: Record<string, string>): string {
  // In here imports are resolved as in the sources.
  const folder = `${web}node_modules/.snippets/${name}`;
  mkdirSync(folder, { recursive: true });
  const all = { 'style.d.ts': `declare module '*.css';`, 'tsconfig.json': JSON.stringify({ extends: '../../../tsconfig.json', include: ['**/*.ts', '**/*.tsx'], exclude: [] }), ...files };
  for (const [file, code] of Object.entries(all)) {
    mkdirSync(dirname(`${folder}/${file}`), { recursive: true });
    writeFileSync(`${folder}/${file}`, code);
  }
  try {
    execFileSync(process.execPath, [`${web}node_modules/typescript/bin/tsc`, '-p', folder], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    return '';
  } catch (error) {
    return (error as { stdout: string }).stdout;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Puts other values in the place of those that a reader would replace too, and insists that they are there. */
export function replaced(code: string, values: Record<string, string>): string {
  return Object.entries(values).reduce((text, [from, to]) => {
    if (!text.includes(from)) throw new Error(`the snippet says nothing of ${from}`);
    return text.replaceAll(from, to);
  }, code);
}

/** Bundles modules by their names, of which `main` begins, for a browser. */
export async function bundled(files: Record<string, string>, main: string): Promise<string> {
  const modules: Plugin = {
    name: 'snippets',
    setup(builder) {
      builder.onResolve({ filter: /^\.\// }, ({ path, namespace }) => {
        const name = Object.keys(files).find((file) => file === path.slice(2) || file.replace(/\.\w+$/, '') === path.slice(2));
        return name && (namespace === 'snippets' || namespace === 'file') ? { path: name, namespace: 'snippets' } : undefined;
      });
      builder.onLoad({ filter: /.*/, namespace: 'snippets' }, ({ path }) => ({ contents: path.endsWith('.vue') ? ofVue(files[path] ?? '') : (files[path] ?? ''), loader: 'tsx', resolveDir: web }));
    },
  };
  const { outputFiles } = await build({
    stdin: { contents: files[main] ?? '', loader: 'tsx', resolveDir: web, sourcefile: main },
    absWorkingDir: web,
    bundle: true,
    write: false,
    format: 'esm',
    jsx: 'automatic',
    define: { 'process.env.NODE_ENV': '"production"', __VUE_OPTIONS_API__: 'true', __VUE_PROD_DEVTOOLS__: 'false', __VUE_PROD_HYDRATION_MISMATCH_DETAILS__: 'false' },
    loader: { '.css': 'empty' },
    plugins: [modules],
  });
  return outputFiles[0]!.text;
}

function ofVue(code: string): string {
  const { descriptor, errors } = parse(code);
  if (errors[0]) throw errors[0];
  return compileScript(descriptor, { id: 'snippet', inlineTemplate: true }).content;
}
