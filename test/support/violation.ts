/** A simulator or an oracle saw something that must never happen. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** Thrown out of a port call to end the simulated process in the middle of the engine's code. Nobody may catch it. */
export class ProcessKilled extends Error {
  override readonly name = 'ProcessKilled';
}
