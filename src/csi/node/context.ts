/**
 * What the node's calls share. Nothing is kept in memory: what is staged and published is read from the mount table and
 * the devices each time, because this process may be started anew in the middle of anything.
 */
import type { MountEntry, Mounter, NodeDevices } from '../ports.ts';

export interface NodeContext {
  readonly devices: NodeDevices;
  readonly mounter: Mounter;
}

/** What stands at a path, seen from one volume. */
export type Standing =
  | { readonly kind: 'nothing' }
  /** This volume's present device. */
  | { readonly kind: 'own'; readonly entry: MountEntry }
  /** A device that this volume had before, or one that works no more: left over from a store that died. */
  | { readonly kind: 'stale'; readonly entry: MountEntry }
  /** Another volume, or no volume of ours. */
  | { readonly kind: 'foreign'; readonly entry: MountEntry };

/** `devicePath`: the volume's present device, null when it has none. */
export async function standingAt(
  context: NodeContext,
  path: string,
  volume: { readonly id: string; readonly devicePath: string | null },
): Promise<Standing> {
  const entry = await context.mounter.find(path);
  if (entry === null) return { kind: 'nothing' };
  if (entry.source === volume.devicePath) return { kind: 'own', entry };
  if (!LOOP_DEVICE.test(entry.source)) return { kind: 'foreign', entry };
  const owner = await context.devices.owner(entry.source);
  // A loop device without an owner is somebody's own while it works, and a remnant once it does not.
  const stale = owner === volume.id || (owner === null && (await isDead(context, entry.source)));
  return { kind: stale ? 'stale' : 'foreign', entry };
}

/** Every mount of a device, however it came about. */
export async function mountsOf(context: NodeContext, devicePath: string): Promise<readonly MountEntry[]> {
  return (await context.mounter.list()).filter((entry) => entry.source === devicePath);
}

export function isReadOnly(entry: MountEntry): boolean {
  return entry.options.includes('ro');
}

/** A loop device that is not set up any more has no size, or no node. */
async function isDead(context: NodeContext, devicePath: string): Promise<boolean> {
  return (await context.mounter.blockSize(devicePath).catch(() => 0)) === 0;
}

/** Only a loop device can have been ours. */
const LOOP_DEVICE = /^\/dev\/loop\d+$/;
