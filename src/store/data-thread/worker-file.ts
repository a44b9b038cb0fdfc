/** Where a worker's module lies, by its path from its caller without an extension: it has the caller's own (.ts from source,
 * .js when built). */
export function workerFile(callerUrl: string, path: string): URL {
  const extension = callerUrl.endsWith('.ts') ? '.ts' : '.js';
  return new URL(`${path}${extension}`, callerUrl);
}
