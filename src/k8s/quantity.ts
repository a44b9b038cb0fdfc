/** Sizes for people. */

const SUFFIXES = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'] as const;

/** A Kubernetes quantity of three digits or so, rounded to the nearest: "100Gi", "1.25Ti", "0". */
export function quantity(bytes: number): string {
  for (const [index, suffix] of SUFFIXES.entries()) {
    const value = bytes / 1024 ** index;
    const rounded = Number(value.toFixed(index === 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2));
    // What rounds up to the next suffix belongs there: "1Gi", not "1024Mi".
    if (rounded < 1024 || index === SUFFIXES.length - 1) return `${rounded}${suffix}`;
  }
  return '0';
}
