/**
 * Marks a process that serves I/O as such (see setIoFlusher), where no parent has done it: as the first process of a
 * container, or under a service manager. The mark must be there before Node's threads are, so the process marks its main
 * thread and starts its program once more in its own place: same process id, same arguments.
 */
import { isIoFlusher, setIoFlusher } from '../../linux/process.ts';
import type { SystemError } from '../../linux/system-error.ts';
import type { Logger } from '../../util/log.ts';

/** This process, as far as it matters here. */
export interface MarkableProcess {
  readonly environment: Readonly<NodeJS.ProcessEnv>;
  isMarked(): boolean;
  /** Answers why not. */
  mark(): SystemError | null;
  /** Does not return, or throws. */
  startAgain(environment: NodeJS.ProcessEnv): never;
}

/** Set for the second start, so that there is no third, whatever the kernel says. */
const STARTED_AGAIN = 'CHUNKSTORE_STARTED_AGAIN';
const WARNING = 'this process is not marked as serving I/O (it takes CAP_SYS_RESOURCE): when memory is short it may stall';

/** Returns when the process is marked, or cannot be: then one warning says why. Else the program starts once more. */
export function markAsServingIo(log: Logger, self: MarkableProcess = thisProcess): void {
  if (self.isMarked()) return;
  if (self.environment[STARTED_AGAIN] !== undefined) {
    log.warn({ reason: 'the mark did not last over the start of the program' }, WARNING);
    return;
  }
  const refusal = self.mark();
  if (refusal !== null) {
    log.warn({ reason: refusal.message }, WARNING);
    return;
  }
  try {
    self.startAgain({ ...self.environment, [STARTED_AGAIN]: '1' });
  } catch (error) {
    log.warn({ reason: error instanceof Error ? error.message : String(error) }, WARNING);
  }
}

const thisProcess: MarkableProcess = {
  environment: process.env,
  isMarked: isIoFlusher,
  mark: () => setIoFlusher({ enabled: true }),
  startAgain(environment) {
    if (process.execve === undefined) throw new Error('this Node cannot start a program in its own place');
    return process.execve(process.execPath, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], environment);
  },
};
