/** Whose page it is: name, colours, logo and texts of the operator's, as the gateway gives them in `page.json`. Data only. */

/** The gateway checks all of it (`operator/gateway`, `docs/operations.md`); here only what could do harm is looked at again. */
export interface Brand {
  readonly name?: string;
  /** For light and dark: the colour of buttons and links, and that of text on it. */
  readonly light?: readonly [string, string];
  readonly dark?: readonly [string, string];
  readonly logo?: boolean;
  /** By language, or `default`. */
  readonly guidance?: Readonly<Record<string, string>>;
  readonly contact?: Readonly<Record<string, string>>;
}

/** The text for a language, if there is one. */
export function textFor(texts: Brand['guidance'], lang: string): string | undefined {
  const text = texts?.[lang] ?? texts?.default;
  return typeof text === 'string' ? text : undefined;
}

/** Puts colours, name and logo on the page. */
export function dress(brand: Brand, root: HTMLElement, header: HTMLElement, base: string): void {
  for (const [at, colours] of [['l', brand.light] as const, ['d', brand.dark] as const]) {
    if (!Array.isArray(colours) || colours.length !== 2 || !colours.every((one) => /^#[\da-f]{6}$/.test(one))) continue;
    root.style.setProperty(`--${at}-main`, colours[0]);
    root.style.setProperty(`--${at}-on`, colours[1]);
  }
  if (typeof brand.name === 'string') header.lastElementChild!.textContent = brand.name;
  if (brand.logo === true) {
    const logo = new Image();
    logo.src = base + 'logo';
    logo.alt = '';
    header.firstElementChild!.replaceWith(logo);
  }
}
