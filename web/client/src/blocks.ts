/** Reads Server-Sent Events from text that arrives in pieces: a piece may end in the middle of anything. */
export interface Block {
  event: string;
  data: string | null;
  id: string | null;
  retry: number | null;
}

/** Takes pieces; calls back with each block that is complete. What is cut off before its empty line never was. */
export function blocks(take: (block: Block) => void): (piece: string) => void {
  let rest = '';
  let block: Block = { event: '', data: null, id: null, retry: null };
  const line = (text: string) => {
    if (text === '') {
      const complete = block;
      block = { event: '', data: null, id: null, retry: null };
      return take(complete);
    }
    const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(text) ?? [];
    if (field === 'data') block.data = block.data === null ? value : `${block.data}\n${value}`;
    else if (field === 'event' || field === 'id') block[field] = value;
    else if (field === 'retry' && /^\d+$/.test(value)) block.retry = Number(value);
  };
  return (piece) => {
    rest += piece;
    // A carriage return at the very end may be half of a line's end.
    const lines = rest.split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    lines.forEach(line);
  };
}
