/** The few elements of SVG that plots are made of. Everything that comes from outside is escaped here. */

type Attributes = Readonly<Record<string, string | number>>;

/** With the text or the elements in it; numbers have two digits behind the point. */
export function element(name: string, attributes: Attributes, ...inner: readonly string[]): string {
  const pairs = Object.entries(attributes).map(
    ([key, value]) => ` ${key}="${typeof value === 'number' ? coordinate(value) : escape(value)}"`,
  );
  return inner.length === 0 ? `<${name}${pairs.join('')}/>` : `<${name}${pairs.join('')}>${inner.join('')}</${name}>`;
}

export function text(words: string, attributes: Attributes): string {
  return element('text', attributes, escape(words));
}

/** A whole picture on white, so that it is read on dark pages, too. */
export function picture(
  options: { readonly width: number; readonly height: number; readonly title: string },
  ...inner: readonly string[]
): string {
  const { width, height, title } = options;
  const attributes = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${width} ${height}`,
    ...{ width, height, role: 'img' },
    'font-family': 'Helvetica, Arial, sans-serif',
    'font-size': 12,
  };
  const background = element('rect', { width, height, fill: '#ffffff' });
  return `${element('svg', attributes, element('title', {}, escape(title)), '\n', background, '\n', inner.join('\n'), '\n')}\n`;
}

function escape(words: string): string {
  return words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}

/** Two digits behind the point are more than a screen shows. */
export function coordinate(value: number): string {
  return String(Math.round(value * 100) / 100);
}
