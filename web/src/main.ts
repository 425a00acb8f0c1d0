/** The start of the page: find the link, clean the address bar, look up. Everything else waits for a person. */
import { en } from './i18n/en.ts';
import { use } from './i18n/index.ts';
import { stretchInWorker } from './kdf-client.ts';
import type { Shelf } from './memory.ts';
import { findLink, folderOf, fragmentOf } from './protocol/link.ts';
import { Session, type World } from './session.ts';
import type { State } from './flow.ts';
import { View } from './view.ts';

const base = folderOf(import.meta.url);

function shelf(): Shelf | undefined {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
}

async function begin(root: HTMLElement): Promise<void> {
  const found = findLink(location.hash, location.pathname + location.search);
  // At once, before anything is drawn: a token in path or query must not stay in the address bar or the history.
  if (found.is === 'link') history.replaceState(null, '', base + '#' + fragmentOf(found.secret));
  else if (found.is === 'broken' && found.exposed) history.replaceState(null, '', base);

  use(en, navigator.languages);
  document.documentElement.lang = en.lang;
  document.documentElement.dir = en.dir;

  let session: Session | undefined;
  const view = new View(root, base, found.is === 'link' && found.exposed, (event) => session?.send(event));
  const show = (state: State): void => (state.at === 'left' ? view.clear() : view.show(state));

  addEventListener('hashchange', () => location.reload());
  addEventListener('pagehide', () => {
    session?.send({ is: 'left' });
    view.clear();
  });
  addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });

  if (found.is !== 'link') return show({ at: 'noLink', why: found.is });
  if (!globalThis.crypto?.subtle) return show({ at: 'noLink', why: 'insecure' });
  const world: World = {
    fetch: (url, init) => fetch(url, init),
    base,
    shelf: shelf(),
    now: () => Date.now(),
    random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
    wait: (ms) => new Promise((done) => setTimeout(done, ms)),
    stretch: (passphrase, salt) => stretchInWorker(base, passphrase, salt),
  };
  session = await Session.begin(world, found.secret, show);
}

const root = document.getElementById('page');
if (root) void begin(root);
