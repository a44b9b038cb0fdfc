/**
 * Words for a header of a protocol: the first line, within a limit, and well-formed. A text that came from outside may have
 * halves of surrogate pairs, and a cut may leave one; gRPC throws at those when it answers, and the caller would wait for ever.
 */
export function oneLine(text: string, options: { readonly maximumLength: number }): string {
  const [firstLine = ''] = text.split('\n', 1);
  return firstLine.slice(0, options.maximumLength).toWellFormed();
}
