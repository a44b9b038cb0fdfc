/** How a device's descriptors lie in the keeper: the one thing that store, node role and keeper must agree on. */

/** The key of an object's device, by the object's id (without the pool's: the connection says the pool). */
export function deviceKey(objectId: string): string {
  return `device/${objectId}`;
}

/** Whether a device hangs on what is held under the key. */
export function isDeviceKey(key: string): boolean {
  return key.startsWith(deviceKey(''));
}

/** The key of the store's shared memory. */
export const memoryKey = 'memory';

/** The places of a device's descriptors in what is put. */
export const DevicePlace = { fuse: 0, mount: 1 } as const;
