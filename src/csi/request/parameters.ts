/**
 * Parameters of storage classes and snapshot classes. Our own are few and listed; the orchestrator's are ignored; any
 * other is refused, because a misspelt one would silently do nothing.
 */
import type { Claim, FileSystem } from '../ports.ts';
import { requireFileSystem } from './capabilities.ts';
import { invalid, requireMapSize } from './fields.ts';

type Parameters = Readonly<Record<string, string>>;

/** Of the orchestrator, for instance the claim's name; they differ from call to call and change nothing here. */
const ORCHESTRATOR_PREFIX = 'csi.storage.k8s.io/';
/** Older orchestrators name the file system here only. */
const ORCHESTRATOR_FILE_SYSTEM = `${ORCHESTRATOR_PREFIX}fstype`;
/** Of external-provisioner with --extra-create-metadata: whom to tell. */
const ORCHESTRATOR_CLAIM = { namespace: `${ORCHESTRATOR_PREFIX}pvc/namespace`, name: `${ORCHESTRATOR_PREFIX}pvc/name` };

const FREEZE = {
  values: ['true', 'false', 'auto'],
  /** The driver decides by the file system. */
  initial: 'auto',
};
const PLACEMENT = {
  values: ['preferred', 'any'],
  /** The first preferred node or none: the scheduler has chosen it, and would rather choose again than be surprised. With
   * "any", a first choice that is full or away is passed over. */
  initial: 'preferred',
};

const ERASE = { values: ['true', 'false'], initial: 'false' };

const VOLUME_PARAMETERS: Readonly<Record<string, { readonly values: readonly string[]; readonly initial: string | null } | 'text'>> = {
  freeze: FREEZE,
  placement: PLACEMENT,
  mkfsOptions: 'text',
  erase: ERASE,
};
/** Nothing here goes without saying: even "auto" overrides what the volume's class says. */
const SNAPSHOT_PARAMETERS: typeof VOLUME_PARAMETERS = { freeze: { ...FREEZE, initial: null } };

export interface VolumeParameters {
  /** Ours, without those that have their initial value: kept with the volume and compared when its name comes again. */
  readonly attributes: Parameters;
  readonly fileSystem: FileSystem | null;
  /** A first choice that is full or away may be passed over. */
  readonly anyNode: boolean;
  /** Whose volume it is; null when nobody says so. */
  readonly claim: Claim | null;
}

export function requireVolumeParameters(parameters: Parameters): VolumeParameters {
  const attributes = ownParameters(parameters, VOLUME_PARAMETERS);
  const fileSystem = parameters[ORCHESTRATOR_FILE_SYSTEM] ?? '';
  const namespace = parameters[ORCHESTRATOR_CLAIM.namespace] ?? '';
  const name = parameters[ORCHESTRATOR_CLAIM.name] ?? '';
  return {
    attributes,
    fileSystem: fileSystem === '' ? null : requireFileSystem(fileSystem, `parameters[${ORCHESTRATOR_FILE_SYSTEM}]`),
    anyNode: attributes['placement'] === 'any',
    claim: namespace === '' || name === '' ? null : { namespace, name },
  };
}

/** Attributes for the snapshot that override those of its volume. */
export function requireSnapshotParameters(parameters: Parameters): Parameters {
  return ownParameters(parameters, SNAPSHOT_PARAMETERS);
}

/** VolumeAttributesClass is not served, so that none may be asked for. */
export function requireNoMutableParameters(parameters: Parameters): void {
  const [key] = Object.keys(parameters);
  if (key !== undefined) throw invalid('mutable_parameters', `has ${JSON.stringify(key)}; volumes have no parameters that can change`);
}

/** The arguments that `mkfsOptions` stands for. */
export function mkfsArguments(attributes: Parameters): readonly string[] {
  return (attributes['mkfsOptions'] ?? '').split(/\s+/).filter((argument) => argument !== '');
}

function ownParameters(parameters: Parameters, known: typeof VOLUME_PARAMETERS): Parameters {
  requireMapSize(parameters, 'parameters');
  const own: Record<string, string> = {};
  for (const [key, value] of Object.entries(parameters)) {
    if (key.startsWith(ORCHESTRATOR_PREFIX)) continue;
    const kind = Object.hasOwn(known, key) ? known[key] : undefined;
    if (kind === undefined)
      throw invalid('parameters', `has ${JSON.stringify(key)}, which is not known; known are ${Object.keys(known).join(', ')}`);
    if (kind === 'text') {
      // oxlint-disable-next-line no-control-regex
      if (/[\u0000-\u0008\u000a-\u001f\u007f]/.test(value)) throw invalid(`parameters[${key}]`, 'has a control character');
      if (value.trim() !== '') own[key] = value.trim();
      continue;
    }
    if (!kind.values.includes(value))
      throw invalid(`parameters[${key}]`, `is ${JSON.stringify(value)}; possible are ${kind.values.join(', ')}`);
    if (value !== kind.initial) own[key] = value;
  }
  return own;
}
