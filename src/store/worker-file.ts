/** Where a worker's module lies: beside its caller, with the caller's own extension (.ts from source, .js when built). */
export function workerFile(callerUrl: string, name: string): URL {
  const extension = callerUrl.endsWith('.ts') ? '.ts' : '.js';
  return new URL(`./${name}${extension}`, callerUrl);
}
