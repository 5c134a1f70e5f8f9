/** Times that go on by themselves, so that the rows around them need not be rendered each second. */
import { ago, span, useNow } from './clock';

export function Ago({ time }: { time: string }) {
  return <time dateTime={time} title={new Date(time).toLocaleString()}>{ago(time, useNow())}</time>;
}

export function Since({ time }: { time: string }) {
  return <time dateTime={time} title={new Date(time).toLocaleString()}>{span((useNow() - Date.parse(time)) / 1000)}</time>;
}
