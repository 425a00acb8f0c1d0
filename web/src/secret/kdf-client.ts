/** Runs the KDF in a worker, so that the page stays alive. There is no fallback: without a worker there is no passphrase. */
import type { Bytes } from '../protocol/bytes.ts';

interface TrustedTypes {
  createPolicy(name: string, rules: { createScriptURL(input: string): string }): { createScriptURL(input: string): unknown };
}

/** `P` of a normalised passphrase, which is wiped. */
export function stretchInWorker(base: string, passphrase: Bytes, salt: Bytes): Promise<Bytes> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(workerUrl(base));
    worker.onmessage = (event: MessageEvent<Bytes>) => {
      worker.terminate();
      resolve(event.data);
    };
    worker.onerror = () => {
      worker.terminate();
      reject(new Error('the worker failed'));
    };
    worker.postMessage({ passphrase, salt });
    passphrase.fill(0);
  });
}

let known: string | undefined;

/** The policy `ps` knows one address only, whatever it is asked for. Made once: the CSP forbids a second of that name. */
function workerUrl(base: string): string {
  if (known === undefined) {
    const fixed = new URL('kdf-worker.js', base).href;
    const types = (globalThis as { trustedTypes?: TrustedTypes }).trustedTypes;
    known = (types?.createPolicy('ps', { createScriptURL: () => fixed }).createScriptURL('') ?? fixed) as string;
  }
  return known;
}
