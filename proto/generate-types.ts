/**
 * Writes src/csi/generated/messages.ts, the TypeScript types of proto/csi.proto as src/csi/proto.ts loads it. Run it
 * after a change of the file (`node proto/generate-types.ts`); test/csi/messages.test.ts fails while that is not done.
 */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { MessageTypeDefinition, PackageDefinition, ServiceDefinition } from '@grpc/proto-loader';
import { format, resolveConfig } from 'prettier';
import { loadCsiPackage } from '../src/csi/proto.ts';

/** The parts of google/protobuf/descriptor.proto that are read here. */
interface Field {
  readonly name: string;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}
interface Message {
  readonly name: string;
  readonly field: readonly Field[];
  readonly nestedType: readonly Message[];
  readonly enumType: readonly Enumeration[];
  readonly oneofDecl: readonly { readonly name: string }[];
  readonly options: { readonly mapEntry?: boolean } | null;
}
interface Enumeration {
  readonly name: string;
  readonly value: readonly { readonly name: string }[];
}
/** Declared names, as in "VolumeCapability.AccessMode"; in TypeScript the dots are underscores. */
type Names = ReadonlyMap<string, 'message' | 'enum'>;

export const GENERATED_PATH = fileURLToPath(new URL('../src/csi/generated/messages.ts', import.meta.url));

const PACKAGE = 'csi.v1.';
const SCALARS: Readonly<Record<string, string>> = { TYPE_STRING: 'string', TYPE_BOOL: 'boolean', TYPE_INT32: 'number', TYPE_INT64: 'Long' };
const WELL_KNOWN: Readonly<Record<string, string>> = {
  'google.protobuf.BoolValue': '{ readonly value: boolean }',
  'google.protobuf.Int64Value': '{ readonly value: Long }',
  'google.protobuf.Timestamp': '{ readonly seconds: Long; readonly nanos: number }',
};
const HEAD = `/**
 * Generated from proto/csi.proto by proto/generate-types.ts: do not edit. Messages as they are received; null is an
 * absent message, an absent property a member of a oneof that is not set. Sendable<…> is what may be sent.
 */
import type { Service } from '../proto.ts';

/** A 64-bit number in decimal. */
export type Long = \`\${bigint}\`;
`;

export async function generateTypes(definition: PackageDefinition): Promise<string> {
  const messages: { message: Message; emptyDecoded: Readonly<Record<string, unknown>> | null }[] = [];
  const enumerations: Enumeration[] = [];
  const services: { name: string; service: ServiceDefinition }[] = [];
  for (const [fullName, entry] of Object.entries(definition)) {
    if (!fullName.startsWith(PACKAGE)) continue;
    if (!('format' in entry)) services.push({ name: fullName.slice(PACKAGE.length), service: entry });
    else if (entry.format === 'Protocol Buffer 3 EnumDescriptorProto') enumerations.push(entry.type as Enumeration);
    else messages.push({ message: entry.type as Message, emptyDecoded: decodeEmpty(entry as MessageTypeDefinition<object, object>) });
  }
  const names = new Map<string, 'message' | 'enum'>();
  for (const { message } of messages) collectNames(message, '', names);
  for (const enumeration of enumerations) names.set(enumeration.name, 'enum');

  const text = [
    HEAD,
    ...enumerations.map((enumeration) => enumText(enumeration, '')),
    ...messages.map(({ message, emptyDecoded }) => messageText(message, { scope: '', emptyDecoded, names })),
    ...services.map(({ name, service }) => serviceText(name, service)),
  ].join('\n');
  return format(text, { ...(await resolveConfig(GENERATED_PATH)), parser: 'typescript' });
}

/** A decoded empty message has every field but the members of oneofs: the descriptors do not tell them apart. */
function decodeEmpty(definition: MessageTypeDefinition<object, object>): Readonly<Record<string, unknown>> {
  return definition.deserialize(Buffer.alloc(0)) as Record<string, unknown>;
}

function collectNames(message: Message, scope: string, names: Map<string, 'message' | 'enum'>): void {
  const name = scope + message.name;
  names.set(name, 'message');
  for (const enumeration of message.enumType) names.set(`${name}.${enumeration.name}`, 'enum');
  for (const nested of message.nestedType) collectNames(nested, `${name}.`, names);
}

function messageText(
  message: Message,
  context: { scope: string; emptyDecoded: Readonly<Record<string, unknown>> | null; names: Names },
): string {
  const name = context.scope + message.name;
  const fields = message.field.map((field) => {
    const inOneof = context.emptyDecoded === null ? message.oneofDecl.length > 0 : !(field.name in context.emptyDecoded);
    return `readonly ${field.name}${inOneof ? '?' : ''}: ${fieldType(field, { message, name, names: context.names, inOneof })};`;
  });
  const oneofs = message.oneofDecl.map((oneof) => `/** Which member of the oneof is set. */\nreadonly ${oneof.name}?: string;`);
  return [
    `export interface ${identifier(name)} { ${[...fields, ...oneofs].join('\n')} }`,
    ...message.enumType.map((enumeration) => enumText(enumeration, `${name}.`)),
    ...message.nestedType
      .filter((nested) => nested.options?.mapEntry !== true)
      .map((nested) => messageText(nested, { scope: `${name}.`, emptyDecoded: null, names: context.names })),
  ].join('\n');
}

function fieldType(field: Field, context: { message: Message; name: string; names: Names; inOneof: boolean }): string {
  const entry = context.message.nestedType.find((nested) => nested.name === field.typeName && nested.options?.mapEntry === true);
  if (entry !== undefined) return 'Readonly<Record<string, string>>';
  const repeated = field.label === 'LABEL_REPEATED';
  const scalar = SCALARS[field.type];
  if (scalar !== undefined) return repeated ? `readonly ${scalar}[]` : scalar;
  const wellKnown = WELL_KNOWN[field.typeName];
  const resolved = wellKnown ?? resolve(field.typeName, context.name, context.names);
  if (repeated) return `readonly ${resolved}[]`;
  return field.type === 'TYPE_MESSAGE' && !context.inOneof ? `${resolved} | null` : resolved;
}

/** A type name is relative to the message that uses it: the innermost scope that declares it counts. */
function resolve(typeName: string, scope: string, names: Names): string {
  for (let parts = scope.split('.'); ; parts = parts.slice(0, -1)) {
    const candidate = [...parts, typeName].join('.');
    if (names.has(candidate)) return identifier(candidate);
    if (parts.length === 0) throw new Error(`proto/csi.proto uses ${typeName} in ${scope}, which is not declared`);
  }
}

function enumText(enumeration: Enumeration, scope: string): string {
  return `export type ${identifier(scope + enumeration.name)} = ${enumeration.value.map((value) => `'${value.name}'`).join(' | ')};`;
}

function serviceText(name: string, service: ServiceDefinition): string {
  const methods = Object.values(service).map((method) => {
    const { type: request } = method.requestType as { type: { name: string } };
    const { type: response } = method.responseType as { type: { name: string } };
    return `readonly ${method.originalName}: { readonly request: ${request.name}; readonly response: ${response.name} };`;
  });
  return `export interface ${name}Messages { ${methods.join('\n')} }\nexport type ${name} = Service<${name}Messages>;`;
}

function identifier(name: string): string {
  return name.replaceAll('.', '_');
}

if (import.meta.main) writeFileSync(GENERATED_PATH, await generateTypes(loadCsiPackage()));
