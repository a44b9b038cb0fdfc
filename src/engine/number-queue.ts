/** A first-in-first-out queue of numbers that does not allocate once it has its size. */
export class NumberQueue {
  #items = new Float64Array(64);
  #head = 0;
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The oldest; call only when there is one. */
  get first(): number {
    return this.#items[this.#head]!;
  }

  push(value: number): void {
    if (this.#length === this.#items.length) this.#double();
    this.#items[(this.#head + this.#length) & (this.#items.length - 1)] = value;
    this.#length++;
  }

  /** Takes the oldest; call only when there is one. */
  shift(): number {
    const value = this.#items[this.#head]!;
    this.#head = (this.#head + 1) & (this.#items.length - 1);
    this.#length--;
    return value;
  }

  forEach(visit: (value: number) => void): void {
    for (let index = 0; index < this.#length; index++) visit(this.#items[(this.#head + index) & (this.#items.length - 1)]!);
  }

  #double(): void {
    const items = new Float64Array(this.#items.length * 2);
    for (let index = 0; index < this.#length; index++) items[index] = this.#items[(this.#head + index) & (this.#items.length - 1)]!;
    this.#items = items;
    this.#head = 0;
  }
}
