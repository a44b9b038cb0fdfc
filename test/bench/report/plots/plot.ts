/** A picture of a run's figures. */
export interface Plot {
  /** Of its file, without the ending. */
  readonly name: string;
  /** The part of the benchmark that it shows. */
  readonly part: string;
  readonly title: string;
  readonly svg: string;
}
