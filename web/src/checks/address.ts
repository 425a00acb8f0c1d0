/** An address that may be gone to: the web's, and in clear only on this machine. */
export function address(text: string): URL | undefined {
  try {
    // `URL.canParse` is younger than some browsers that are in use.
    const url = new URL(text);
    return url.protocol === 'https:' || (url.protocol === 'http:' && /^(127\.0\.0\.1|localhost|\[::1])$/.test(url.hostname)) ? url : undefined;
  } catch {
    return undefined;
  }
}
