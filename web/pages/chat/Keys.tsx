import { texts } from '../texts';
import { Dialog } from './Dialog';
import { keysOf, type KeyCommand } from './keyboard';

/** What every key does. */
export function Keys({ onClose }: { onClose(): void }) {
  const words = texts.chat.keys;
  return (
    <Dialog title={words.title} onClose={onClose}>
      <dl className="keys">
        {(Object.keys(keysOf) as KeyCommand[]).map((command) => (
          <div key={command}>
            <dt>{keysOf[command].map((key) => <kbd className="t-kbd" key={key}>{key}</kbd>)}</dt>
            <dd>{words.map[command]}</dd>
          </div>
        ))}
      </dl>
      <p className="t-muted t-small">{words.note}</p>
    </Dialog>
  );
}
