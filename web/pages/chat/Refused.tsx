import { texts } from '../texts';

/** For whoever is not an admin: what is needed, not only that it is forbidden. */
export function Refused({ sub, role }: { sub: string; role: string }) {
  const words = texts.chat.refused;
  return (
    <section className="t-card gate" aria-labelledby="refused">
      <h1 id="refused">{words.title}</h1>
      <p>{words.why(sub, role)}</p>
      <p>{words.need}</p>
      <p><a className="t-button" href="/notifications">{words.toNotifications}</a></p>
    </section>
  );
}
