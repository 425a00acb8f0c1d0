/** The opening code: section 6 of `docs/link-protocol.md`. */

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** What mail programs and phones make of our hyphen and spaces, turned back. For typed text, before `normalCode`. */
export function tidyCode(typed: string): string {
  return typed.replace(/[\s\u00ad\u200b\u2010-\u2015\u2212]/g, '');
}

/** The eight characters of an opening code, or nothing if it is mistyped. */
export function normalCode(typed: string): string | undefined {
  // ASCII only: a locale or a look-alike of Unicode must not turn into one of our letters.
  const code = typed
    .replace(/[ -]/g, '')
    .replace(/[a-z]/g, (c) => c.toUpperCase())
    .replace(/O/g, '0')
    .replace(/[IL]/g, '1');
  if (code.length !== 8) return undefined;
  const values = [...code].map((c) => ALPHABET.indexOf(c));
  if (values.includes(-1)) return undefined;
  return values.pop() === checkValue(values) ? code : undefined;
}

/** The check value over GF(32) with the polynomial x^5 + x^2 + 1. */
export function checkValue(values: readonly number[]): number {
  return values.reduce((a, value) => {
    const x = a ^ value;
    return (x << 1) ^ (x >= 16 ? 0b100101 : 0);
  }, 0);
}

/** The eight characters as they are shown. */
export function showCode(code: string): string {
  return code.slice(0, 4) + '-' + code.slice(4);
}
