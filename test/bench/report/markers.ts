/**
 * A page that is written by hand but for the parts between markers, which are made from figures:
 * `<!-- begin NAME -->` and `<!-- end NAME -->`, each in a line of its own.
 */

const BEGIN = /^<!-- begin (.+) -->$/;

/** The page with each marked part replaced. Fails where a name is not among the parts, or a part does not end. */
export function fillMarked(page: string, parts: ReadonlyMap<string, string>): string {
  const lines = page.split('\n');
  const filled: string[] = [];
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index]!;
    filled.push(line);
    const [, name] = BEGIN.exec(line) ?? [];
    if (name === undefined) continue;
    const text = parts.get(name);
    if (text === undefined) throw new Error(`the page asks for "${name}", and there are only ${[...parts.keys()].join(', ')}`);
    const end = `<!-- end ${name} -->`;
    const endIndex = lines.indexOf(end, index);
    if (endIndex < 0) throw new Error(`the page has no line ${end}`);
    filled.push('', text.trim(), '', end);
    index = endIndex;
  }
  return filled.join('\n');
}
