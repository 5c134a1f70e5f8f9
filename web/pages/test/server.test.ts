// @vitest-environment happy-dom
import { describe, expect, it } from 'vitest';
import { serverOf } from '../shell/server';

const location = { href: 'https://here.example/', origin: 'https://here.example' } as Location;
const page = (html: string) => new DOMParser().parseFromString(html, 'text/html');

describe('the server of a page', () => {
  it('is where the page came from', () => {
    expect(serverOf({ document: page(''), location })).toEqual({ elsewhere: false });
  });

  it('is what the page’s meta element names', () => {
    const document = page('<meta name="tidings-server" content="https://events.example">');
    expect(serverOf({ document, location })).toEqual({ url: 'https://events.example', elsewhere: true });
  });

  it('is what the embedding page says, before anything else', () => {
    const getToken = () => 'token';
    const document = page('<meta name="tidings-server" content="https://events.example">');
    expect(serverOf({ document, location, tidings: { url: 'https://other.example', tenant: 'acme', getToken } })).toEqual({ url: 'https://other.example', tenant: 'acme', getToken, elsewhere: true });
  });
});
