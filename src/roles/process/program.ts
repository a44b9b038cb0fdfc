/** How this program starts another process of itself. */
import { fileURLToPath } from 'node:url';

/** Program and arguments that run a role, under the same Node and from the same files (source or built). */
export function programOf(role: string): readonly [program: string, ...args: string[]] {
  const extension = import.meta.url.endsWith('.ts') ? '.ts' : '.js';
  return [process.execPath, ...process.execArgv, fileURLToPath(new URL(`../../main${extension}`, import.meta.url)), role];
}
