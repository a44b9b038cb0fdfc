import { describeBlockContract } from '../support/block-contract.ts';
import { EngineDevice } from '../support/engine-device.ts';
import { MemoryDevice } from '../support/memory-device.ts';

const sizeBytes = 6_291_456;

describeBlockContract('a plain memory', { open: async () => new MemoryDevice(sizeBytes) });

for (const chunkSizeBytes of [16_384, 32_768, 65_536]) {
  const ending = chunkSizeBytes === 32_768 ? 'kill' : 'power';
  describeBlockContract(`a volume of the engine with chunks of ${chunkSizeBytes} bytes`, {
    open: async () => EngineDevice.create({ seed: chunkSizeBytes, chunkSizeBytes, sizeBytes, ending }),
  });
}
