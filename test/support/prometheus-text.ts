/** Reads Prometheus' text format, as far as tests need it, and finds the names of our metrics in any other text. */
export type Labels = Readonly<Record<string, string>>;

interface Sample {
  readonly name: string;
  readonly labels: Labels;
  readonly value: number;
}

export class Scrape {
  readonly #samples: readonly Sample[];
  readonly #types: readonly (readonly [name: string, type: string])[];

  constructor(text: string) {
    const lines = text.split('\n').filter((line) => line !== '');
    this.#samples = lines.filter((line) => !line.startsWith('#')).map(sampleOf);
    this.#types = lines
      .filter((line) => line.startsWith('# TYPE '))
      .map((line) => {
        const [, , name = '', type = ''] = line.split(' ');
        return [name, type] as const;
      });
  }

  /** Of the one sample with these labels, and perhaps others; fails when there are none or several. */
  value(name: string, labels: Labels = {}): number {
    const [found, ...more] = this.#find(name, labels);
    if (found === undefined || more.length > 0) {
      throw new Error(`${more.length + (found === undefined ? 0 : 1)} samples of ${name}${JSON.stringify(labels)}`);
    }
    return found.value;
  }

  /** Of all with these labels, and perhaps others; 0 when there are none. */
  sum(name: string, labels: Labels = {}): number {
    return this.#find(name, labels).reduce((sum, { value }) => sum + value, 0);
  }

  /** All that may stand in a query, also of metrics without a sample yet. */
  names(): string[] {
    const parts = (name: string) => ['_bucket', '_sum', '_count'].map((part) => `${name}${part}`);
    return this.#types.flatMap(([name, type]) => (type === 'histogram' ? [name, ...parts(name)] : [name]));
  }

  #find(name: string, labels: Labels): readonly Sample[] {
    const wanted = Object.entries(labels);
    return this.#samples.filter((sample) => sample.name === name && wanted.every(([label, value]) => sample.labels[label] === value));
  }
}

export function metricNamesIn(text: string): string[] {
  return [...new Set(text.match(/\bchunkstore_[a-z0-9_]+\b/g) ?? [])];
}

function sampleOf(line: string): Sample {
  const [, name = '', labels = '', value = 'NaN'] = /^([\w:]+)(?:\{(.*)\})? (\S+)/.exec(line) ?? [];
  const pairs = [...labels.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label = '', text = '']) => [label, text] as const);
  return { name, labels: Object.fromEntries(pairs), value: Number(value) };
}
