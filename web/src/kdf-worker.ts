/** The worker that stretches one passphrase. It answers once and is ended by the page. */
import { stretch } from './protocol/kdf.ts';

onmessage = (event: MessageEvent<{ passphrase: Uint8Array; salt: Uint8Array }>) => {
  const { passphrase, salt } = event.data;
  const stretched = stretch(passphrase, salt);
  passphrase.fill(0);
  postMessage(stretched);
};
