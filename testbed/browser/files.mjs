// Files by which a test and a scenario tell each other how far they are.
import { readFile } from 'node:fs/promises';
import { setTimeout as pause } from 'node:timers/promises';

/** The text of a file, once it is there and not empty. */
export async function textOf(file, patienceMs) {
  for (const start = Date.now(); ; await pause(50)) {
    const text = await readFile(file, 'utf8').catch(() => '');
    if (text) return text;
    if (Date.now() - start > patienceMs) throw new Error(`nobody wrote ${file}`);
  }
}
