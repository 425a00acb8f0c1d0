/** Small helpers over the DOM. Text enters as text only: nothing here parses HTML, so Trusted Types have nothing to stop. */
import type { Facts } from './screen.ts';

type Child = Node | string | false | undefined;
type Props = Record<string, string | boolean | ((event: Event) => void) | undefined>;

/** An element. A function becomes a listener, `true` an empty attribute; `false` and `undefined` nothing. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else set(element, name, value);
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

export function set(element: Element, name: string, value: string | boolean | undefined): void {
  if (value === undefined || value === false) element.removeAttribute(name);
  else element.setAttribute(name, value === true ? '' : value);
}

/** A button that does not submit. `what` is said to who does not see where the button stands: "Copy Username". */
export function button(id: string, text: string, click: () => void, look?: string, what?: string): HTMLButtonElement {
  return h('button', { type: 'button', class: look, 'data-testid': id, click }, text, what !== undefined && h('span', { class: 'sr' }, ' ' + what));
}

/** Changes the visible text of a button. */
export function retitle(press: HTMLButtonElement, text: string): void {
  press.firstChild?.replaceWith(text);
}

/** Text from outside: its writing direction can't change that of ours. */
export function bdi(text: string): HTMLElement {
  return h('bdi', {}, text);
}

/** A link if it leads to the web, text otherwise: `javascript:` and the like are never links. */
export function address(text: string): HTMLElement {
  const web = /^https?:\/\//i.test(text) && URL.canParse?.(text);
  return web ? h('a', { href: text, target: '_blank', rel: 'noopener noreferrer' }, bdi(text)) : bdi(text);
}

/** A paragraph; `look` is its class, and its name for tests. */
export function p(text: string, look = ''): HTMLElement {
  return h('p', { class: look || undefined, 'data-testid': look || undefined }, text);
}

export function facts(...pairs: Facts): HTMLElement {
  const list = h('dl');
  for (const [name, value] of pairs) if (value) list.append(h('div', {}, h('dt', {}, name), h('dd', {}, value)));
  return list;
}
