/** Event types by globs, as the server matches them: `*` stands for any run of characters, all else for itself. */
export function matcher(globs: readonly string[] | null): RegExp {
  const source = (globs ?? ['*']).map((glob) => glob.replace(/[^\w*]/g, '\\$&').replace(/\*+/g, '.*'));
  return new RegExp(`^(?:${source.join('|')})$`, 's');
}
