/**
 * The demo's steps, against a driver that runs: a volume with a real data set, snapshot, damage, clones, revert, growth,
 * and deletes in an awkward order. What each thing must hold is known from the origin of the data or from a checksum
 * taken before; it is read back through a fresh attachment wherever an older one could answer from the kernel's cache.
 */
import fs from 'node:fs/promises';
import { status } from '@grpc/grpc-js';
import { ext4Capability } from '../support/csi-volume.ts';
import type { LocalDriver } from '../support/local-driver.ts';
import { canGrowMountedExt4 } from '../support/machine.ts';
import { Cast, volumeBytes } from './cast.ts';
import { DatabaseWriter } from './database-process.ts';
import type { Ledger, MustBe } from './ledger.ts';
import { digestFolder, inspectDatabase } from './programs.ts';
import { copySourceTree, damageSourceTree, type SourceTree } from './source-tree.ts';

const MIB = 2 ** 20;
const GIB = 2 ** 30;
const grownBytes = GIB;
/** What an ext4 keeps for itself, at most. */
const fileSystemShare = 0.1;
const ownNoteBytes = 8 * MIB;
/** "Nothing": the last of the file systems' own background writes may still be in a snapshot's or a volume's count. */
const nearlyNothingBytes = MIB;

export interface StoryParts {
  readonly driver: LocalDriver;
  readonly ledger: Ledger;
  readonly tree: SourceTree;
  /** Of the tree at its origin. */
  readonly treeDigest: string;
  readonly signal: AbortSignal;
}

/** What the source held at the moment of the snapshot, and what its damage made of it. */
interface Known {
  /** Committed transactions in the snapshot. */
  transactions: number;
  /** Of the whole volume, after the damage. */
  damagedDigest: string;
  /** Of the snapshot as a block device. */
  deviceDigest: string;
}

export class Story {
  readonly #parts: StoryParts;
  readonly #cast: Cast;
  readonly #known: Known = { transactions: 0, damagedDigest: '', deviceDigest: '' };
  #writer: DatabaseWriter | null = null;

  constructor(parts: StoryParts) {
    this.#parts = parts;
    this.#cast = new Cast(parts.driver, parts.signal);
  }

  async tell(): Promise<void> {
    await this.#makeSource();
    await this.#snapshotUnderWay();
    await this.#damage();
    await this.#cloneBoth();
    await this.#writeApart();
    await this.#revert();
    await this.#grow();
    await this.#deleteAwkwardly();
  }

  /** For the clean-up after a failure: ends the processes that the story has started. */
  async abandon(): Promise<void> {
    await this.#writer?.kill();
  }

  async #makeSource(): Promise<void> {
    const { ledger, tree, treeDigest, signal } = this.#parts;
    const created = await ledger.stepWithCost('create a volume of 512 MiB', () => this.#cast.create('source', undefined));
    await ledger.check('an empty volume takes no space', async (mustBe) => {
      mustBe(`it costs ${created.costBytes} bytes, almost nothing`, created.costBytes < nearlyNothingBytes);
    });
    await ledger.step('stage and publish it with ext4', () => this.#cast.publish('source'));
    await ledger.step(`write a source tree of ${tree.files.length} files, ${Math.round(tree.sizeBytes / MIB)} MiB`, async () => {
      await copySourceTree(tree, this.#cast.pathOf('source', 'tree'), signal);
      await this.#cast.sync('source');
    });
    await ledger.check('the volume holds the tree as it is at its origin', async (mustBe) => {
      const { digest } = await digestFolder(this.#cast.pathOf('source', 'tree'));
      mustBe('the checksums over all files are equal', digest === treeDigest);
    });
  }

  async #snapshotUnderWay(): Promise<void> {
    const { ledger } = this.#parts;
    await fs.mkdir(this.#cast.pathOf('source', 'database'));
    const writer = new DatabaseWriter(this.#cast.pathOf('source', 'database', 'bank.db'));
    this.#writer = writer;
    await ledger.step('run SQLite on it: 200 transactions, and on', () => writer.waitFor(200));
    const before = writer.committed;
    await ledger.step('take a snapshot, transactions under way', async () => {
      this.#cast.remember('before', await this.#cast.snapshot('source', 'before'));
    });
    await ledger.step('let the database go on, then stop it', async () => {
      await writer.waitFor(writer.committed + 100);
      await writer.stop();
      await this.#cast.sync('source');
    });
    await ledger.check('every transaction of the source is whole', async (mustBe) => {
      const { sound, findings, transactions } = await inspectDatabase(this.#cast.pathOf('source', 'database', 'bank.db'));
      mustBe(`integrity, balances and sum are right (${findings.join('; ')})`, sound);
      mustBe('all committed transactions are there', transactions === writer.committed && transactions > before);
    });
    await ledger.step('attach the snapshot read-only and take its checksum', async () => {
      this.#known.deviceDigest = await this.#cast.digestSnapshot('before');
    });
    // At least what was committed before the call must be in the snapshot; how much it was shows in the clones.
    this.#known.transactions = before;
  }

  async #damage(): Promise<void> {
    const { ledger, tree, signal } = this.#parts;
    await ledger.step('damage the source: delete and overwrite files, break the database', async () => {
      await damageSourceTree(tree, this.#cast.pathOf('source', 'tree'), signal);
      await fs.writeFile(this.#cast.pathOf('source', 'database', 'bank.db'), Buffer.alloc(256 * 1024, 'garbage '), { flag: 'r+' });
      await this.#cast.sync('source');
    });
    await ledger.check('the damage is real', async (mustBe) => {
      const { digest } = await digestFolder(this.#cast.pathOf('source', 'tree'));
      mustBe('the checksum of the tree is another one', digest !== this.#parts.treeDigest);
      mustBe('the database is broken', !(await inspectDatabase(this.#cast.pathOf('source', 'database', 'bank.db'))).sound);
      this.#known.damagedDigest = await this.#cast.digestOf('source');
    });
  }

  async #cloneBoth(): Promise<void> {
    const { ledger } = this.#parts;
    const fromSnapshot = await ledger.stepWithCost('clone the snapshot', () =>
      this.#cast.create('restored', this.#cast.fromSnapshot('before')),
    );
    const fromVolume = await ledger.stepWithCost('clone the live, damaged volume', () =>
      this.#cast.create('copy', this.#cast.fromVolume('source')),
    );
    await ledger.step('mount both clones beside the source', async () => {
      await this.#cast.publish('restored');
      await this.#cast.publish('copy');
    });
    await ledger.check('clones, snapshot and source are each what they must be', async (mustBe) => {
      mustBe('a clone costs no space', fromSnapshot.costBytes < nearlyNothingBytes && fromVolume.costBytes < nearlyNothingBytes);
      const { sound, findings, transactions } = await inspectDatabase(this.#cast.pathOf('restored', 'database', 'bank.db'));
      mustBe(`the restored database is whole (${findings.join('; ')})`, sound);
      mustBe(`it has what was committed before the snapshot: ${transactions}`, transactions >= this.#known.transactions);
      mustBe('and nothing from after it', transactions < (this.#writer?.committed ?? 0));
      this.#known.transactions = transactions;
      await this.#mustBeOriginal(mustBe, 'restored');
      mustBe('the clone of the live volume is the damaged source', (await this.#cast.digestOf('copy')) === this.#known.damagedDigest);
      mustBe('the source is what it was', (await this.#cast.digestOf('source')) === this.#known.damagedDigest);
      mustBe('the snapshot is what it was', (await this.#cast.digestSnapshot('before')) === this.#known.deviceDigest);
    });
  }

  async #writeApart(): Promise<void> {
    const { ledger } = this.#parts;
    const names = ['source', 'restored', 'copy'];
    const note = (name: string): string => this.#cast.pathOf(name, 'note');
    await ledger.step('write a file of its own into each of the three', async () => {
      for (const name of names) {
        await fs.writeFile(note(name), Buffer.alloc(ownNoteBytes, `${name} `));
        await this.#cast.sync(name);
      }
    });
    await ledger.check('none of them sees the others’ writes', async (mustBe) => {
      for (const name of names) {
        await this.#cast.reattach(name);
        mustBe(`${name} holds its own file`, (await fs.readFile(note(name))).equals(Buffer.alloc(ownNoteBytes, `${name} `)));
        await fs.rm(note(name));
      }
      const [, copy, source] = await Promise.all([
        this.#mustBeOriginal(mustBe, 'restored'),
        this.#cast.digestOf('copy'),
        this.#cast.digestOf('source'),
      ]);
      mustBe('the copy is otherwise what it was', copy === this.#known.damagedDigest);
      mustBe('the source is otherwise what it was', source === this.#known.damagedDigest);
      mustBe('the snapshot is what it was', (await this.#cast.digestSnapshot('before')) === this.#known.deviceDigest);
    });
  }

  async #revert(): Promise<void> {
    const { driver, ledger } = this.#parts;
    const revert = (): Promise<{ readonly safety: { readonly id: string } }> =>
      driver.operate('revert', this.#cast.idOf('source'), this.#cast.idOf('before'), '--safety-name', 'undo-revert');
    await ledger.check('a volume in use is not reverted, and not deleted', async (mustBe) => {
      mustBe('the revert is refused', await fails(revert()));
      const refusal = await codeOf(driver.csi.controller.deleteVolume({ volumeId: this.#cast.idOf('source') }));
      mustBe('the delete is refused with FAILED_PRECONDITION', refusal === status.FAILED_PRECONDITION);
    });
    await ledger.step('unpublish and unstage the source', () => this.#cast.unpublish('source'));
    await ledger.step('revert it to the snapshot, by the operator command', async () => {
      this.#cast.remember('undo-revert', (await revert()).safety.id);
    });
    await ledger.step('stage and publish it again', () => this.#cast.publish('source'));
    await ledger.check('the source is what it was at the snapshot', async (mustBe) => {
      await this.#mustBeOriginal(mustBe, 'source');
      await this.#mustHaveDatabase(mustBe, 'source');
      const { entries } = await driver.csi.controller.listSnapshots({ snapshotId: this.#cast.idOf('undo-revert') });
      mustBe('the safety snapshot is listed', entries?.length === 1);
    });
    await ledger.step('clone the safety snapshot and mount it', async () => {
      await this.#cast.create('undone', this.#cast.fromSnapshot('undo-revert'));
      await this.#cast.publish('undone');
    });
    await ledger.check('the safety snapshot holds the state before the revert', async (mustBe) => {
      mustBe('its clone is the damaged source', (await this.#cast.digestOf('undone')) === this.#known.damagedDigest);
    });
  }

  async #grow(): Promise<void> {
    const { driver, ledger } = this.#parts;
    const { volumeId, stagingPath, targetPath } = this.#cast.volume('source');
    const before = await fs.statfs(targetPath);
    const capacityRange = { requiredBytes: grownBytes };
    const grow = async (): Promise<void> => {
      await driver.csi.controller.controllerExpandVolume({ volumeId, capacityRange, volumeCapability: ext4Capability });
      const request = { volumeId, volumePath: targetPath, stagingTargetPath: stagingPath, capacityRange, volumeCapability: ext4Capability };
      await driver.csi.node.nodeExpandVolume(request);
    };
    const { lack } = canGrowMountedExt4();
    if (lack === undefined) {
      await ledger.step('grow the source to 1 GiB while it is mounted', grow);
    } else {
      await ledger.step(`grow the source to 1 GiB by staging it anew (${lack})`, async () => {
        const refusal = await codeOf(grow());
        if (refusal !== status.OK && refusal !== status.FAILED_PRECONDITION) throw new Error(`growing failed with code ${status[refusal]}`);
        await this.#cast.reattach('source');
        await grow();
      });
    }
    await ledger.check('its file system has grown, and holds what it held', async (mustBe) => {
      const after = await fs.statfs(targetPath);
      mustBe('it was smaller', before.blocks * before.bsize <= volumeBytes);
      mustBe('it is about 1 GiB', after.blocks * after.bsize > grownBytes * (1 - fileSystemShare));
      await this.#cast.reattach('source');
      await this.#mustBeOriginal(mustBe, 'source');
      await this.#mustHaveDatabase(mustBe, 'source');
      mustBe('the counts of the pool are right', (await this.#cast.problemsOfPool()) === 0);
    });
  }

  async #deleteAwkwardly(): Promise<void> {
    const { driver, ledger } = this.#parts;
    await ledger.step('delete the source, before its snapshots and clones', () => this.#cast.delete('source'));
    await ledger.check('snapshots and clones of it are whole', async (mustBe) => {
      const { entries } = await driver.csi.controller.listSnapshots({});
      mustBe('both snapshots are listed still', entries?.length === 2);
      mustBe('the snapshot is what it was', (await this.#cast.digestSnapshot('before')) === this.#known.deviceDigest);
      await this.#mustBeWhole(mustBe, ['restored', 'copy', 'undone']);
    });
    await ledger.step('restore the snapshot of the deleted volume and mount it', async () => {
      await this.#cast.create('late', this.#cast.fromSnapshot('before'));
      await this.#cast.publish('late');
    });
    await ledger.check('it can still be restored', (mustBe) => this.#mustBeWhole(mustBe, ['late']));
    await ledger.step('delete the snapshot, before its clones', () => this.#cast.deleteSnapshot('before'));
    await ledger.check('its clones are whole', (mustBe) => this.#mustBeWhole(mustBe, ['restored', 'late', 'copy', 'undone']));
    await ledger.step('delete one of its two clones, and the safety snapshot', async () => {
      await this.#cast.delete('restored');
      await this.#cast.deleteSnapshot('undo-revert');
    });
    await ledger.check('the others are whole', async (mustBe) => {
      await this.#mustBeWhole(mustBe, ['late', 'copy', 'undone']);
      mustBe('the counts of the pool are right', (await this.#cast.problemsOfPool()) === 0);
    });
    await ledger.step('delete the rest', async () => {
      for (const name of ['copy', 'undone', 'late']) await this.#cast.delete(name);
      await this.#cast.settle();
    });
    await ledger.check('all space has come back', async (mustBe) => {
      const { usedBytes } = await driver.store.getPool();
      mustBe(`the pool uses ${usedBytes} bytes, almost nothing`, usedBytes < nearlyNothingBytes);
      mustBe('the counts of the pool are right', (await this.#cast.problemsOfPool()) === 0);
      mustBe('no device is left', (await driver.devices()).length === 0);
    });
  }

  /** All at once: that also is something which a driver must bear. */
  async #mustBeWhole(mustBe: MustBe, names: readonly string[]): Promise<void> {
    await Promise.all(
      names.map(async (name) => {
        await this.#cast.reattach(name);
        if (name === 'copy' || name === 'undone') {
          mustBe(`${name} is the damaged source`, (await this.#cast.digestOf(name)) === this.#known.damagedDigest);
        } else {
          await this.#mustBeOriginal(mustBe, name);
          await this.#mustHaveDatabase(mustBe, name);
        }
      }),
    );
  }

  async #mustBeOriginal(mustBe: MustBe, name: string): Promise<void> {
    const { digest } = await digestFolder(this.#cast.pathOf(name, 'tree'));
    mustBe(`${name} holds the tree as it is at its origin`, digest === this.#parts.treeDigest);
  }

  async #mustHaveDatabase(mustBe: MustBe, name: string): Promise<void> {
    const { sound, findings, transactions } = await inspectDatabase(this.#cast.pathOf(name, 'database', 'bank.db'));
    mustBe(`the database of ${name} is whole (${findings.join('; ')})`, sound);
    mustBe(`the database of ${name} is that of the snapshot`, transactions === this.#known.transactions);
  }
}

async function fails(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => false,
    () => true,
  );
}

/** The gRPC status that a call fails with; OK when it does not. */
async function codeOf(call: Promise<unknown>): Promise<status> {
  return call.then(
    () => status.OK,
    (error: { readonly code: status }) => error.code,
  );
}
