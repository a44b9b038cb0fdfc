/** Which objects a list or watch of the fake API takes: label selectors, and the field selectors that the server knows. */
import type { KubernetesObject, Resource, Selection } from '../../src/k8s/api.ts';
import { StoreError } from '../../src/util/errors.ts';

const COMMON_FIELDS = ['metadata.name', 'metadata.namespace'];
/** Field selectors that single kinds have beside the common ones. */
const FIELDS_OF_KIND: Readonly<Record<string, readonly string[]>> = {
  Pod: ['spec.nodeName', 'status.phase'],
  CertificateSigningRequest: ['spec.signerName'],
  Secret: ['type'],
  Event: ['reason', 'type', 'regarding.uid', 'regarding.name'],
};

export function selects(resource: Resource<KubernetesObject>, selection: Selection, object: KubernetesObject): boolean {
  if (selection.namespace !== undefined && object.metadata.namespace !== selection.namespace) return false;
  const labels = object.metadata.labels ?? {};
  if (!requirementsOf(selection.labelSelector).every((requirement) => labelFits(labels, requirement))) return false;
  return requirementsOf(selection.fieldSelector).every((requirement) => fieldFits(resource, object, requirement));
}

/** Commas outside of parentheses divide the requirements. */
function requirementsOf(selector: string | undefined): string[] {
  return (selector ?? '').match(/(?:[^,(]|\([^)]*\))+/g)?.map((part) => part.trim()) ?? [];
}

function labelFits(labels: Readonly<Record<string, string>>, requirement: string): boolean {
  const set = /^(\S+)\s+(in|notin)\s+\(([^)]*)\)$/.exec(requirement);
  if (set !== null) {
    const values = set[3]!.split(',').map((value) => value.trim());
    const value = labels[set[1]!];
    const within = value !== undefined && values.includes(value);
    return set[2] === 'in' ? within : !within;
  }
  const comparison = /^([^=!\s]+)\s*(==?|!=)\s*(\S*)$/.exec(requirement);
  if (comparison !== null) return (labels[comparison[1]!] === comparison[3]) === (comparison[2] !== '!=');
  if (/^![^=!\s]+$/.test(requirement)) return !(requirement.slice(1) in labels);
  if (/^[^=!\s]+$/.test(requirement)) return requirement in labels;
  throw new StoreError('failed-precondition', `unable to parse the label selector ${requirement}`);
}

function fieldFits(resource: Resource<KubernetesObject>, object: KubernetesObject, requirement: string): boolean {
  const comparison = /^([^=!]+)(==?|!=)(.*)$/.exec(requirement);
  const path = comparison?.[1] ?? '';
  if (comparison === null || ![...COMMON_FIELDS, ...(FIELDS_OF_KIND[resource.kind] ?? [])].includes(path)) {
    throw new StoreError('failed-precondition', `field label not supported for ${resource.kind}: ${requirement}`);
  }
  let value: unknown = object;
  for (const name of path.split('.')) value = (value as Record<string, unknown> | undefined)?.[name];
  return ((value ?? '') === comparison[3]) === (comparison[2] !== '!=');
}
