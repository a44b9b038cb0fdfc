/** What a control record does to the state: the same code when it is made and when it is replayed. */
import { assert } from '../util/assert.ts';
import { type ObjectRow, StoredObject } from './objects.ts';
import type { ControlChange, ObjectDescription } from './record.ts';
import type { EngineState } from './state.ts';

type Changed = Pick<EngineState, 'objects' | 'pages' | 'tree' | 'life'>;

export function applyChange(state: Changed, change: ControlChange, sequence: number): void {
  switch (change.change) {
    case 'create':
      state.objects.add(new StoredObject(newRow(change.object, { number: sequence, lineage: sequence, rootNumber: 0, rootLevel: 0 })));
      return;
    case 'share':
      return share(state, change.object, change.sourceNumber, sequence);
    case 'revert':
      return revert(state, change, sequence);
    case 'delete': {
      const object = find(state, change.number);
      state.tree.replaceRoot(object, 0, 0, sequence);
      state.objects.remove(object);
      return;
    }
    case 'resize':
      state.objects.resize(find(state, change.number), change.sizeBytes);
      return;
    case 'life':
      state.life = change.life;
  }
}

function share(state: Changed, description: ObjectDescription, sourceNumber: number, sequence: number): void {
  const source = find(state, sourceNumber);
  if (source.rootNumber !== 0) state.pages.addReference(source.rootNumber);
  const { lineage, rootNumber, rootLevel } = source;
  state.objects.add(new StoredObject(newRow(description, { number: sequence, lineage, rootNumber, rootLevel })));
}

function revert(state: Changed, change: ControlChange & { change: 'revert' }, sequence: number): void {
  const volume = find(state, change.volumeNumber);
  const snapshot = find(state, change.snapshotNumber);
  if (change.safety !== null) {
    // The volume's reference to its old tree moves to the safety snapshot.
    const { lineage, rootNumber, rootLevel } = volume;
    state.objects.add(new StoredObject(newRow(change.safety, { number: sequence, lineage, rootNumber, rootLevel })));
    volume.rootNumber = 0;
  }
  if (snapshot.rootNumber !== 0) state.pages.addReference(snapshot.rootNumber);
  state.tree.replaceRoot(volume, snapshot.rootNumber, snapshot.rootLevel, sequence);
  volume.incarnation = sequence;
}

function newRow(
  description: ObjectDescription,
  place: { number: number; lineage: number; rootNumber: number; rootLevel: number },
): ObjectRow {
  return { ...place, incarnation: place.number, description };
}

function find(state: Changed, number: number): StoredObject {
  const object = state.objects.byNumber(number);
  assert(object !== undefined, 'a record names objects that exist at its sequence');
  return object;
}
