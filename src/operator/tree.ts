/** Volumes and snapshots as a forest: each below what it was made from, as far as that still exists. */

export interface TreeItem {
  readonly id: string;
  readonly kind: 'volume' | 'snapshot';
  readonly name: string;
  readonly sourceId: string | null;
  readonly createdAtMs: number;
}

export interface TreeLine<Item> {
  readonly item: Item;
  /** The lines that draw the branch, to be put before the name. */
  readonly prefix: string;
}

/** In the order of a drawn tree; siblings by age. What descends from something that is gone stands at the root. */
export function drawTree<Item extends TreeItem>(items: readonly Item[]): TreeLine<Item>[] {
  const known = new Set(items.map((item) => item.id));
  const children = new Map<string | null, Item[]>();
  for (const item of items.toSorted(byAge)) {
    const parent = item.sourceId !== null && known.has(item.sourceId) ? item.sourceId : null;
    children.set(parent, [...(children.get(parent) ?? []), item]);
  }
  const lines: TreeLine<Item>[] = [];
  const visit = (item: Item, own: string, below: string): void => {
    lines.push({ item, prefix: own });
    const descendants = children.get(item.id) ?? [];
    descendants.forEach((child, index) => {
      const last = index === descendants.length - 1;
      visit(child, `${below}${last ? '└─ ' : '├─ '}`, `${below}${last ? '   ' : '│  '}`);
    });
  };
  for (const root of children.get(null) ?? []) visit(root, '', '');
  return lines;
}

function byAge(a: TreeItem, b: TreeItem): number {
  return a.createdAtMs - b.createdAtMs || (a.id < b.id ? -1 : 1);
}
