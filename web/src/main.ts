/** The start of the page: find the link, clean the address bar, look up, load the words. Everything else waits for a person. */
import { dress, type Brand } from './brand.ts';
import type { Face } from './secret/face.ts';
import type { CheckRules } from './checks/rules.ts';
import { SIGN_IN, type Arrival, type World } from './desk.ts';
import { dueAt, type Event as FlowEvent, type State } from './flow.ts';
import { LANGUAGES, add, choose, t, use, type Messages } from './i18n/index.ts';
import { careful } from './memory.ts';
import { unb64, type Bytes } from './protocol/bytes.ts';
import { findLink, folderOf, fragmentOf } from './protocol/link.ts';
import type { Seal } from './seal.ts';
import { Session } from './session.ts';
import { View } from './view.ts';

const base = folderOf(import.meta.url);
const [shelf, tab] = [careful(() => localStorage), careful(() => sessionStorage)];
const LANGUAGE = 'ps:language';
/** The longest time that a timer can wait, in milliseconds. */
const LONGEST = 2 ** 31 - 1;

type Found = { secret: Bytes; arrival: Arrival } | 'none' | 'broken';

/** The link, and the address bar without what must not stay in it or in the history. */
function find(): Found {
  const back = signedIn();
  const found = findLink(location.hash, location.pathname + location.search);
  if (back) {
    history.replaceState(null, '', base + '#' + fragmentOf(back.secret));
    return back;
  }
  if (found.is === 'link') history.replaceState(null, '', base + '#' + fragmentOf(found.secret));
  else if (location.search || (found.is === 'broken' && found.exposed)) history.replaceState(null, '', base);
  return found.is === 'link' ? { secret: found.secret, arrival: { exposed: found.exposed } } : found.is;
}

/** Whoever comes back from a sign-in: with `state`, which only this tab knows. What was kept for it is removed. */
function signedIn(): (Found & object) | undefined {
  const answer = new URLSearchParams(location.search);
  const kept = tab.getItem(SIGN_IN);
  // Whoever comes back in another way, or not at all, has no use for it either.
  tab.removeItem(SIGN_IN);
  if (!kept || !answer.has('state')) return undefined;
  try {
    const { secret, state, verifier } = JSON.parse(kept) as Record<string, string>;
    if (answer.get('state') !== state) return undefined;
    const authorizationCode = answer.get('code');
    return { secret: unb64(secret!, 32), arrival: { signIn: authorizationCode ? { authorizationCode, verifier: verifier! } : 'refused' } };
  } catch {
    return undefined;
  }
}

/** A file of the page; nothing if it does not come. */
function load(name: string): Promise<unknown> {
  const options = { credentials: 'omit', referrerPolicy: 'no-referrer' } as const;
  return fetch(base + name, options).then((answer) => (answer.ok ? answer.json() : undefined)).catch(() => undefined);
}

async function begin(root: HTMLElement, header: HTMLElement, footer: HTMLElement): Promise<void> {
  const found = find();
  let session: Session | undefined;
  let due: ReturnType<typeof setTimeout> | undefined;
  // "Try again" where even the words did not come.
  const send = (event: FlowEvent): void => (event.is === 'retry' && session?.state.at !== 'trouble' ? location.reload() : session?.send(event));
  const view = new View({ root, base, send });
  const show = (state: State): void => {
    if (state.at === 'left') return view.clear();
    if (LATER.includes(state.at) && !more) void moreWords().then(() => session && view.show(session.state), () => view.show({ at: 'trouble', problem: { is: 'unreachable' } }));
    else view.show(state);
    clearTimeout(due);
    const left = (dueAt(state) ?? 0) - Date.now();
    if (left > 0) due = setTimeout(send, Math.min(left + 500, LONGEST), { is: 'due' });
  };

  addEventListener('hashchange', () => location.reload());
  addEventListener('pagehide', () => {
    send({ is: 'left' });
    view.clear();
  });
  addEventListener('pageshow', (event) => {
    if (event.persisted) location.reload();
  });
  addEventListener('storage', (event) => {
    if (event.key === session?.key) send({ is: 'stirred' });
  });
  addEventListener('online', () => send({ is: 'stirred' }));
  addEventListener('visibilitychange', () => document.hidden || send({ is: 'stirred' }));

  speaking = speak(view, header, footer);
  if (typeof found === 'string') show({ at: 'noLink', why: found });
  else if (!globalThis.crypto?.subtle) show({ at: 'noLink', why: 'insecure' });
  else {
    const world: World = {
      fetch: (url, init) => fetch(url, init),
      base,
      shelf,
      tab,
      now: () => Date.now(),
      random: (bytes) => crypto.getRandomValues(new Uint8Array(bytes)),
      wait: (ms) => new Promise((done) => setTimeout(done, ms)),
      go: (url) => location.assign(url),
      checks: later<{ rules: CheckRules }, CheckRules>('checks.js', ({ rules }) => rules),
      seal: later<{ seal: Seal }, Seal>('seal.js', ({ seal }) => seal, false),
      face: later<{ face: Face }, Face>('secret.js', ({ face }) => face),
    };
    session = await Session.begin(world, found.secret, found.arrival, show);
  }
}

/** The language in use, once there is one. */
let speaking: Promise<string | undefined>;
/** Whether the words of later files are wanted too. */
let more = false;

/** The states whose words come later, unless they are there. */
const LATER: readonly State['at'][] = ['decline', 'declined', 'done', 'over'];

async function moreWords(): Promise<void> {
  const lang = await speaking;
  if (more || lang === undefined) return;
  const texts = await words(lang + '-later.json');
  // Another language was chosen meanwhile.
  if (lang !== (await speaking)) return moreWords();
  add(texts);
  more = true;
}

/** A file of the script's that is loaded when it is wanted, with its words. Tried again after a failure. */
function later<M, T>(name: string, of: (module: M) => T, speaks = true): () => Promise<T> {
  let coming: Promise<T> | undefined;
  let tries = 0;
  const get = async (): Promise<T> => {
    // A browser may remember that an address has failed.
    const module = import(base + name + (tries++ ? '?' + tries : '')) as Promise<M>;
    module.catch(() => undefined);
    if (speaks) await moreWords();
    return of(await module);
  };
  // Who asks while it comes waits for the same one: a second address is a second copy, and the policy `ps` is made once.
  return () =>
    (coming ??= get().catch((error: unknown) => {
      coming = undefined;
      throw error;
    }));
}

/** Loads the visitor's language and whose page it is, and offers the other languages. */
async function speak(view: View, header: HTMLElement, footer: HTMLElement): Promise<string | undefined> {
  const page = document.documentElement;
  const picker = footer.querySelector('select')!;
  const brand = load('page.json').then((json) => (json ?? {}) as Brand);
  let spoken: string | undefined;
  let turns = 0;
  const take = async (lang: string): Promise<string | undefined> => {
    const turn = ++turns;
    try {
      const texts = await words(lang + '.json');
      const all = more ? { ...texts, ...(await words(lang + '-later.json')) } : texts;
      // Another one was chosen meanwhile.
      if (turn !== turns) return speaking;
      use(all, lang, navigator.languages);
    } catch {
      if (turn !== turns) return speaking;
      if (spoken === undefined) return lang === 'en' ? undefined : take('en');
      // What is spoken stays.
      picker.value = spoken;
      return spoken;
    }
    spoken = page.lang = picker.value = lang;
    page.dir = lang === 'ar' ? 'rtl' : 'ltr';
    footer.firstElementChild!.textContent = t('page.footer');
    picker.ariaLabel = t('page.language');
    footer.hidden = false;
    view.speak(lang, await brand);
    return lang;
  };
  for (const [lang, name] of Object.entries(LANGUAGES)) {
    const option = new Option(name, lang);
    option.lang = lang;
    picker.add(option);
  }
  picker.addEventListener('change', () => {
    shelf.setItem(LANGUAGE, picker.value);
    speaking = take(picker.value);
  });
  void brand.then((marks) => dress(marks, page, header, base));
  const lang = await take(choose([shelf.getItem(LANGUAGE) ?? '', ...navigator.languages]));
  if (lang === undefined) document.getElementById('broken')!.hidden = false;
  return lang;
}

async function words(name: string): Promise<Partial<Messages>> {
  const texts = await load(name);
  if (!texts) throw new Error(name);
  return texts;
}

const [header, root, footer] = ['brand', 'page', 'foot'].map((id) => document.getElementById(id));
if (header && root && footer) void begin(root, header, footer);
