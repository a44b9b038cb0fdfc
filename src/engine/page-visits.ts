/** How walks bring in pages for one look: one at a time, and a leaf that was brought in displaces none that requests use. */
import type { PageTable } from './page-table.ts';
import type { LeafPage } from './page.ts';

export class PageVisits {
  readonly #pages: PageTable;
  /** A page is on its way; for good where the metadata cannot be read. */
  isLoading = false;
  /** The page that was brought in last. */
  #loaded = 0;

  constructor(pages: PageTable) {
    this.#pages = pages;
  }

  /** Brings in the page that was found missing just now. */
  load(): void {
    const { missing } = this.#pages;
    this.isLoading = true;
    this.#pages.load(missing, () => {
      this.isLoading = false;
      this.#loaded = missing;
    });
  }

  /** The walk is done with a leaf, whoever brought it in. It must not be used any more. */
  leave(leaf: LeafPage): void {
    if (leaf.number === this.#loaded) this.#pages.evictSeen(leaf);
  }
}
