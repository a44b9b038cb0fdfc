/** Times as the Kubernetes API writes them. */

/** Its type Time: whole seconds. */
export function timestamp(atMs: number): string {
  return new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z');
}

/** Its type MicroTime. */
export function microTimestamp(atMs: number): string {
  return new Date(atMs).toISOString().replace('Z', '000Z');
}
