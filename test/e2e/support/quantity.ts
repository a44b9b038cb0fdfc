/** Kubernetes quantities of bytes, as objects say them: "61439Mi", "6Gi", "0". */
const suffixes = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi'];

export function readQuantity(text: string): number {
  const [, number, suffix] = /^([\d.]+)([KMGTP]i)?$/.exec(text) ?? [];
  if (number === undefined) throw new Error(`${JSON.stringify(text)} is no quantity of bytes that these tests know`);
  return Number(number) * 1024 ** suffixes.indexOf(suffix ?? '');
}
