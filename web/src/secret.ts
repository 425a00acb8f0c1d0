/** What was sent, on the screen. A file of its own, loaded while the person reads what there is to open. */
import style from './secret.css';
import { textFor } from './brand.ts';
import type { Opened } from './flow/types.ts';
import { claim, type Stretch } from './secret/claim.ts';
import { Clipboard } from './secret/clipboard.ts';
import type { Around, Face } from './secret/face.ts';
import { fields } from './secret/fields.ts';
import { stretchInWorker } from './secret/kdf-client.ts';
import { address, bdi, facts, h, p } from './view/dom.ts';
import type { Screen } from './view/screen.ts';

/** The page's: made for the first screen, and kept for those after it. */
let clipboard: Clipboard | undefined;

function screen({ payload, info, claimedAt, windowEndsAt, kept }: Opened, around: Around): Screen {
  const { words, brand, say } = around;
  const { t, time, apart } = words;
  const { purpose, environment, url, note, worksForMs } = payload;
  const sender = payload.sender ?? info.preview?.sender ?? '';
  clipboard ??= new Clipboard(words, say);
  clipboard.speak();
  around.margin.replaceChildren(clipboard.element);
  const save = around.form([], { id: 'acknowledge', text: 'secret.saved', busy: 'secret.erasing', look: 'main' }, () => around.send({ is: 'saved' }), say);
  const item = (text: string, id?: string): HTMLElement => h('li', { 'data-testid': id }, text);
  const again = item(t('secret.again', { time: time(windowEndsAt) }), 'window');
  return {
    heading: t('secret.h'),
    parts: [
      p(t('secret.print'), 'print'),
      facts(
        ...around.facts,
        [t('fact.purpose'), purpose && bdi(purpose)],
        [t('fact.environment'), environment && bdi(environment)],
        [t('fact.url'), url && address(url)],
        [t('fact.note'), note && h('span', { class: 'lines' }, bdi(note))],
      ),
      fields(payload, { words, clipboard, say, base: around.base }),
      p(textFor(brand.guidance, around.lang) ?? t('secret.keep'), 'keep'),
      !kept && p(t('secret.volatile'), 'note'),
      save.element,
      h('h2', {}, t('secret.next')),
      h(
        'ul',
        {},
        worksForMs !== undefined && item(t('secret.works', { time: time(claimedAt + worksForMs) }), 'works'),
        again,
        item(t('secret.whenSaved')),
        sender !== '' && item(t('secret.ask', { sender: apart(sender) })),
      ),
      ...around.tail,
    ],
    update(now) {
      if (now.at !== 'opened') return;
      save.update(now.busy, now.problem);
      if (now.over) again.textContent = t('secret.over');
    },
    wait: save.wait,
  };
}

/** With another KDF than the worker's, for tests. */
export function faceWith(stretch: Stretch): Face {
  const face: Face = { claim: (effect, desk, wanted) => claim(effect, desk, wanted, stretch, face), screen };
  return face;
}

/** The style of this file's screens. Where a browser knows no such sheets they are plain. */
function dress(): void {
  try {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(style);
    document.adoptedStyleSheets.push(sheet);
  } catch {
    // Safari before 16.4.
  }
}

dress();
export const face = faceWith(stretchInWorker);
