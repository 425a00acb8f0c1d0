/** An address that may be gone to: the web's, and in clear only on this machine. */
export function address(text: string): URL | undefined {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  return url && (url.protocol === 'https:' || (url.protocol === 'http:' && /^(127\.0\.0\.1|localhost|\[::1])$/.test(url.hostname))) ? url : undefined;
}
