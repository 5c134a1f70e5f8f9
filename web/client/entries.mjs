// The package's entries, for `build.mjs` and for `../size.mjs`, which measures them.
export const entries = {
  entryPoints: { index: 'src/index.ts', react: 'react/index.ts', vue: 'vue/index.ts', query: 'query/index.ts' },
  bundle: true,
  format: 'esm',
  target: 'es2022',
  jsx: 'automatic',
  external: ['react', 'react/jsx-runtime', 'vue', '@tanstack/query-core'],
};
