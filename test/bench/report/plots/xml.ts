/** Reads a document of XML as far as plots use it, strictly: for tests of what we write. */
import { assert } from '../../../../src/util/assert.ts';

export interface XmlElement {
  readonly name: string;
  readonly attributes: ReadonlyMap<string, string>;
  readonly children: readonly XmlElement[];
  /** Of itself, without that of its children. */
  readonly text: string;
}

const TAG = /<(\/?)([a-z][\w-]*)((?:\s+[\w:-]+="[^"<]*")*)\s*(\/?)>|([^<]+)|</g;
const ATTRIBUTE = /([\w:-]+)="([^"<]*)"/g;

/** Fails where the document is not well formed: not one root, tags that do not match, characters that are not escaped. */
export function parseXml(document: string): XmlElement {
  const root = open('', '');
  const stack = [root];
  for (const [whole, closing, name, attributes, empty, text] of document.matchAll(TAG)) {
    const top = stack.at(-1)!;
    if (text !== undefined) {
      top.text += unescaped(text);
      continue;
    }
    assert(name !== undefined, `no tag at ${document.slice(document.indexOf(whole), 40)}`);
    if (closing === '/') {
      assert(top.name === name && stack.length > 1, `</${name}> closes ${top.name}`);
      stack.pop();
      continue;
    }
    const element = open(name, attributes ?? '');
    top.children.push(element);
    if (empty !== '/') stack.push(element);
  }
  assert(stack.length === 1, `${stack.at(-1)!.name} is not closed`);
  assert(root.children.length === 1 && root.text.trim() === '', 'not one root');
  return root.children[0]!;
}

/** The element and all below it. */
export function elementsOf(element: XmlElement): XmlElement[] {
  return [element, ...element.children.flatMap(elementsOf)];
}

function open(name: string, attributes: string): { name: string; attributes: Map<string, string>; children: XmlElement[]; text: string } {
  const pairs = [...attributes.matchAll(ATTRIBUTE)].map(([, key, value]) => [key!, unescaped(value!)] as const);
  assert(new Set(pairs.map(([key]) => key)).size === pairs.length, `${name} has an attribute twice`);
  return { name, attributes: new Map(pairs), children: [], text: '' };
}

function unescaped(text: string): string {
  const left = text.replaceAll(/&(amp|lt|gt|quot);/g, '');
  assert(!left.includes('&'), `an & is not escaped in ${text}`);
  return text.replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&quot;', '"').replaceAll('&amp;', '&');
}
