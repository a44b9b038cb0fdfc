/**
 * Protobuf messages as bytes, drawn from their descriptors: of the right types, with whatever values, and well-formed or
 * not. They are put together by hand, because a client's own encoder would not send most of it.
 */
import type { PackageDefinition } from '@grpc/proto-loader';
import { damaged, hostileInteger, hostileText, randomBytes } from './hostile-values.ts';
import type { SeededRandom } from './seeded-random.ts';

/** What a field of this name has in a message that is meant well: one of these, or nothing. */
export type Vocabulary = (fieldName: string) => readonly (string | number | boolean)[] | 'absent' | null;

interface Field {
  readonly name: string;
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly typeName: string;
}

interface Descriptor {
  readonly name: string;
  readonly field: readonly Field[];
  readonly nestedType: readonly Descriptor[];
  readonly options: { readonly mapEntry?: boolean } | null;
}

const DEEPEST = 6;
const WIRE = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 } as const;

export class WireMessages {
  readonly #definition: PackageDefinition;
  readonly #vocabulary: Vocabulary;

  constructor(options: { readonly definition: PackageDefinition; readonly vocabulary: Vocabulary }) {
    this.#definition = options.definition;
    this.#vocabulary = options.vocabulary;
  }

  /** `type`: of a method's request, as the loaded package has it. */
  draw(random: SeededRandom, type: object): Buffer {
    // Most are well meant in all but a field or two: those get far.
    const hostility = random.pick([0, 0, 0, 0.02, 0.05, 0.2, 0.6, 1]);
    const bytes = this.#message(random, type as Descriptor, { hostility, outer: [], depth: 0 });
    if (random.chance(0.9)) return bytes;
    return random.chance(0.7) ? damaged(random, bytes) : randomBytes(random, random.below(300));
  }

  #message(
    random: SeededRandom,
    descriptor: Descriptor,
    place: { readonly hostility: number; readonly outer: readonly Descriptor[]; readonly depth: number },
  ): Buffer {
    const { hostility, depth } = place;
    if (depth > DEEPEST) return Buffer.alloc(0);
    const outer = [descriptor, ...place.outer];
    const pieces: Buffer[] = [];
    for (const field of descriptor.field) {
      const isHostile = random.chance(hostility);
      const words = this.#vocabulary(field.name);
      if (!isHostile && words === 'absent' && random.chance(0.9)) continue;
      const isList = field.label === 'LABEL_REPEATED';
      const isMessage = field.type === 'TYPE_MESSAGE';
      let count: string = isList ? random.weighted({ 0: 1, 1: 8, 2: 1 }) : random.weighted({ 0: isMessage ? 1 : 0, 1: 8 });
      if (isHostile) count = random.weighted({ 0: 4, 1: 4, 2: 2, 40: isList ? 1 : 0 });
      if (descriptor.options?.mapEntry === true && !isHostile) count = '1';
      for (let n = Number(count); n > 0; n--) {
        if (isMessage) {
          const inner = this.#find(field.typeName, outer);
          const body = inner === null ? Buffer.alloc(0) : this.#message(random, inner, { hostility, outer, depth: depth + 1 });
          pieces.push(lengthDelimited(field.number, body));
        } else pieces.push(scalar(random, field, words === 'absent' ? null : words, isHostile));
      }
    }
    return Buffer.concat(pieces);
  }

  #find(name: string, outer: readonly Descriptor[]): Descriptor | null {
    for (const { nestedType } of outer) {
      const nested = nestedType.find((descriptor) => descriptor.name === name);
      if (nested !== undefined) return nested;
    }
    const bare = name.replace(/^\./, '');
    for (const [full, { type }] of Object.entries(this.#definition) as [string, { type?: object }][]) {
      if ((full === bare || full.endsWith(`.${bare}`)) && type !== undefined && 'field' in type) return type as Descriptor;
    }
    return null;
  }
}

function scalar(random: SeededRandom, field: Field, words: readonly (string | number | boolean)[] | null, isHostile: boolean): Buffer {
  const word = isHostile || words === null || words.length === 0 ? null : random.pick(words);
  switch (field.type) {
    case 'TYPE_STRING':
    case 'TYPE_BYTES':
      if (isHostile) return lengthDelimited(field.number, hostileText(random));
      return lengthDelimited(field.number, Buffer.from(word === null ? '' : String(word)));
    case 'TYPE_BOOL':
      return varintField(field.number, BigInt(Number(word ?? random.chance(0.5))));
    case 'TYPE_DOUBLE':
    case 'TYPE_FIXED64':
      return Buffer.concat([varint(BigInt((field.number << 3) | WIRE.fixed64)), randomBytes(random, 8)]);
    case 'TYPE_FLOAT':
    case 'TYPE_FIXED32':
      return Buffer.concat([varint(BigInt((field.number << 3) | WIRE.fixed32)), randomBytes(random, 4)]);
    case 'TYPE_ENUM':
      return varintField(field.number, isHostile ? hostileInteger(random) : BigInt(Number(word ?? random.below(4))));
    default:
      return varintField(field.number, isHostile ? hostileInteger(random) : BigInt(Number(word ?? 0)));
  }
}

function lengthDelimited(number: number, body: Buffer): Buffer {
  return Buffer.concat([varint(BigInt((number << 3) | WIRE.bytes)), varint(BigInt(body.length)), body]);
}

function varintField(number: number, value: bigint): Buffer {
  return Buffer.concat([varint(BigInt((number << 3) | WIRE.varint)), varint(BigInt.asUintN(64, value))]);
}

function varint(value: bigint): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80n; rest >>= 7n) bytes.push(Number(rest & 0x7fn) | 0x80);
  bytes.push(Number(rest));
  return Buffer.from(bytes);
}
