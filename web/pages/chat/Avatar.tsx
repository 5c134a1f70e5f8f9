/** Somebody, by initials and a colour that is always theirs. */
export function Avatar({ sub, small = false, label }: { sub: string; small?: boolean; label?: string }) {
  const words = sub.split(/[^\p{L}\p{N}]+/u).filter(Boolean);
  const initials = words.length > 1 ? `${words[0]![0]}${words[1]![0]}` : [...sub].slice(0, 2).join('');
  let sum = 0;
  for (const letter of sub) sum = (sum * 31 + letter.codePointAt(0)!) % 997;
  return (
    <span className="t-avatar" data-hue={sum % 6} {...(small ? { 'data-size': 'small' } : {})} {...(label ? { role: 'img', 'aria-label': label, title: label } : { 'aria-hidden': true })}>
      {initials}
    </span>
  );
}
