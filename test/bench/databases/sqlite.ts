/** SQLite, the one in Node, in a process of its own: one connection that writes, as most programs with SQLite have it. */
import path from 'node:path';
import type { Database, DatabaseKind } from './database.ts';
import { runProgram } from './run-program.ts';
import type { Transaction } from './transactions.ts';

const program = path.join(import.meta.dirname, 'sqlite-load.ts');
/** Beyond the time of the load. */
const marginMs = 60_000;

export const sqliteKinds: readonly DatabaseKind[] = [kindOf('sqlite-wal', 'wal'), kindOf('sqlite-rollback-journal', 'delete')];

function kindOf(name: string, journal: 'wal' | 'delete'): DatabaseKind {
  return {
    name,
    lack: () => (process.versions.sqlite === undefined ? 'this Node has no SQLite' : undefined),
    make: async ({ folder, signal }): Promise<Database> => {
      const run = (seconds: number): Promise<string> => {
        const words = ['--disable-warning=ExperimentalWarning', program, path.join(folder, 'database'), journal, String(seconds)];
        return runProgram(process.execPath, words, { limitMs: seconds * 1000 + marginMs, signal });
      };
      await run(0);
      return {
        load: async ({ seconds, begins }) => {
          begins();
          return JSON.parse(await run(seconds)) as Transaction[];
        },
      };
    },
  };
}
