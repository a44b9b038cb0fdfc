/** The Identity service, which every process of the driver serves. */
import type { Identity } from './generated/messages.ts';
import { DRIVER_NAME } from './names.ts';

export interface IdentityOptions {
  readonly version: string;
  /** False while the process cannot do its work yet. A failure counts as false. */
  readonly isReady: () => Promise<boolean>;
}

export function createIdentity(options: IdentityOptions): Identity {
  return {
    getPluginInfo: () => Promise.resolve({ name: DRIVER_NAME, vendorVersion: options.version }),

    // The same from every process: they speak for the driver, not for themselves.
    getPluginCapabilities: () =>
      Promise.resolve({
        capabilities: [
          { service: { type: 'CONTROLLER_SERVICE' } },
          { service: { type: 'VOLUME_ACCESSIBILITY_CONSTRAINTS' } },
          { volumeExpansion: { type: 'ONLINE' } },
        ],
      }),

    async probe() {
      return { ready: { value: await options.isReady().catch(() => false) } };
    },
  };
}
