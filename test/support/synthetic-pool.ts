/**
 * A pool with a large map that nobody wrote: its checkpoint is made directly, by the engine's own code for pages and rows, as
 * one volume whose every chunk is mapped to a slot, in no order. Its data is a hole.
 */
import { randomFillSync } from 'node:crypto';
import { decodePoolRow, encodeRow } from '../../src/engine/checkpoint-rows.ts';
import { Entry } from '../../src/engine/entry.ts';
import { FANOUT, Geometry } from '../../src/engine/geometry.ts';
import { newObjectId } from '../../src/engine/object-id.ts';
import { encodePage, InnerPage, LeafPage, type Page } from '../../src/engine/page.ts';
import type { MetadataChange } from '../../src/engine/ports.ts';
import { MetadataEnvironment } from '../../src/store/metadata/environment.ts';
import { metadataFolderOf, readPoolIdentity } from '../../src/store/pool/pool.ts';

/** So many pages are one transaction. */
const pagesAtOnce = 4096;
/** As many free slots as a checkpoint names. */
const reserveSlots = 4096;
/** An odd number far from any power of two: neighbouring chunks get slots that lie apart. */
const scatter = 0x9e3779b1;

export interface MappedVolume {
  readonly name: string;
  /** A power of two. */
  readonly mappedBytes: number;
}

/** Adds volumes, all of them mapped, to the pool in a folder that nobody has open, whose store ended in order. */
export async function addMappedVolumes(poolFolder: string, volumes: readonly MappedVolume[]): Promise<void> {
  const { dataBytes, chunkSizeBytes } = readPoolIdentity(poolFolder)!;
  const geometry = new Geometry(chunkSizeBytes);
  const slots = geometry.slotsOf(dataBytes);
  const environment = new MetadataEnvironment(metadataFolderOf(poolFolder));
  try {
    const row = decodePoolRow(environment.read('pool', 0)!);
    let { sequence, nextPageNumber } = row;
    let firstSlot = 1;
    for (const { name, mappedBytes } of volumes) {
      const chunks = geometry.chunksOf(mappedBytes);
      if ((chunks & (chunks - 1)) !== 0) throw new Error(`${chunks} chunks are no power of two`);
      if (firstSlot + chunks > slots) throw new Error(`${name} does not fit into ${slots} slots`);
      const map = new MapWriter(environment, { firstPage: nextPageNumber, firstSlot, fullMask: geometry.fullMask, chunks });
      const written = map.write();
      nextPageNumber = written.nextPageNumber;
      firstSlot += chunks;
      // As if the checkpoint contained the record that made it.
      sequence += 1;
      const id = newObjectId({ fill: (target) => void randomFillSync(target) });
      const from = { sourceId: null, sourceKind: null, attributes: {} };
      const object = {
        ...{ number: sequence, incarnation: 1, lineage: sequence, rootNumber: written.root.number, rootLevel: written.root.level },
        description: { id, kind: 'volume', name, sizeBytes: mappedBytes, createdAtMs: Date.now(), ...from } as const,
      };
      environment.commit([{ table: 'objects', key: sequence, value: encodeRow(object) }]);
    }
    const reserve = Array.from({ length: Math.min(reserveSlots, slots - firstSlot) }, (_, index) => firstSlot + index);
    const value = encodeRow({ ...row, sequence, nextPageNumber, reserve, prewrittenSlots: slots });
    environment.commit([{ table: 'pool', key: 0, value }]);
  } finally {
    await environment.close();
  }
}

interface MapOptions {
  readonly firstPage: number;
  readonly firstSlot: number;
  readonly fullMask: number;
  readonly chunks: number;
}

interface PlacedPage {
  readonly number: number;
  readonly level: number;
}

class MapWriter {
  readonly #environment: MetadataEnvironment;
  readonly #options: MapOptions;
  #changes: MetadataChange[] = [];
  #nextPage: number;

  constructor(environment: MetadataEnvironment, options: MapOptions) {
    this.#environment = environment;
    this.#options = options;
    this.#nextPage = options.firstPage;
  }

  /** Level by level, from the leaves up to one root. */
  write(): { readonly root: PlacedPage; readonly nextPageNumber: number } {
    let level: PlacedPage[] = [];
    for (let chunk = 0; chunk < this.#options.chunks; chunk += FANOUT) level.push(this.#put(this.#leaf(chunk)));
    while (level.length > 1) {
      const above: PlacedPage[] = [];
      for (let at = 0; at < level.length; at += FANOUT) {
        const inner = new InnerPage(this.#nextPage++, level[0]!.level + 1);
        for (const [index, child] of level.slice(at, at + FANOUT).entries()) inner.children[index] = child.number;
        above.push(this.#put(inner));
      }
      level = above;
    }
    this.#commit();
    return { root: level[0]!, nextPageNumber: this.#nextPage };
  }

  #leaf(firstChunk: number): LeafPage {
    const { chunks, firstSlot, fullMask } = this.#options;
    const leaf = new LeafPage(this.#nextPage++);
    const entry = new Entry();
    for (let index = 0; index < Math.min(FANOUT, chunks); index += 1) {
      entry.clear();
      // An odd factor modulo a power of two: each slot exactly once.
      entry.push(firstSlot + (Math.imul(firstChunk + index, scatter) & (chunks - 1)), fullMask);
      leaf.write(index, entry);
    }
    return leaf;
  }

  /** What is kept of a page until all are written is its number. */
  #put(page: Page): PlacedPage {
    this.#changes.push({ table: 'pages', key: page.number, value: encodePage(page) });
    if (this.#changes.length >= pagesAtOnce) this.#commit();
    return { number: page.number, level: page.level };
  }

  #commit(): void {
    this.#environment.commit(this.#changes);
    this.#changes = [];
  }
}
