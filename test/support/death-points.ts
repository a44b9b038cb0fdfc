/**
 * Moments at which a store can be made to die by SIGKILL: before or after the nth call of a method, on whichever thread
 * calls it. death-at-call.ts, which is loaded into the store's process, carries them out; nothing of the product knows.
 */

export interface DeathPoint {
  /** What has happened and what has not. */
  readonly moment: string;
  /** From the program's root, without an extension. */
  readonly module: string;
  readonly className: string;
  readonly method: string;
  readonly when: 'before' | 'after';
  /** Counts only calls whose first argument has this in its field `change`: what a control record says. */
  readonly change?: string;
  /** It comes about this often in a second under load, or this often in a start: among so many the call is chosen. */
  readonly calls: number;
  /** Dies not at the call but up to this many rounds of the data loop after it: while a disk or another thread is at work. */
  readonly rounds?: number;
}

export const DEATH_POINTS: readonly DeathPoint[] = [
  // A request.
  { moment: 'request is being read', module: 'block/arena', className: 'Arena', method: 'markPosted', when: 'after', calls: 3000 },
  { moment: 'request is read', module: 'block/arena', className: 'Arena', method: 'markRead', when: 'after', calls: 3000 },
  {
    moment: 'disk write or read is queued',
    module: 'block/ring-disk',
    className: 'DiskOperations',
    method: 'start',
    when: 'after',
    calls: 3000,
  },
  {
    moment: 'disk write is under way',
    module: 'engine/chunk-parts',
    className: 'ChunkParts',
    method: 'begin',
    when: 'after',
    calls: 3000,
    rounds: 2,
  },
  {
    moment: 'data write has landed, no record',
    module: 'engine/writes',
    className: 'Writes',
    method: 'diskCompleted',
    when: 'before',
    calls: 3000,
  },
  {
    moment: 'record is in its place, not published',
    module: 'engine/record-ring',
    className: 'RecordRing',
    method: 'append',
    when: 'before',
    calls: 1500,
  },
  { moment: 'record is made, no reply', module: 'engine/journal', className: 'Journal', method: 'entry', when: 'after', calls: 1500 },
  { moment: 'zeros are recorded, no reply', module: 'engine/journal', className: 'Journal', method: 'trim', when: 'after', calls: 3 },
  { moment: 'slot is marked done, no reply', module: 'block/arena', className: 'Arena', method: 'markDone', when: 'after', calls: 3000 },
  { moment: 'reply is queued', module: 'block/requests', className: 'Requests', method: 'answer', when: 'after', calls: 3000 },
  { moment: 'reply is taken', module: 'block/requests', className: 'Requests', method: 'replied', when: 'before', calls: 3000 },
  // A flush.
  {
    moment: 'data is being synced',
    module: 'engine/durability',
    className: 'Durability',
    method: 'syncData',
    when: 'after',
    calls: 100,
    rounds: 4,
  },
  {
    moment: 'data is synced, log is not written',
    module: 'engine/record-log',
    className: 'RecordLog',
    method: 'writeBatch',
    when: 'before',
    calls: 100,
  },
  {
    moment: 'log is being written',
    module: 'engine/record-log',
    className: 'RecordLog',
    method: 'writeBatch',
    when: 'after',
    calls: 100,
    rounds: 4,
  },
  {
    moment: 'log is being synced',
    module: 'engine/record-log',
    className: 'RecordLog',
    method: 'sync',
    when: 'after',
    calls: 100,
    rounds: 4,
  },
  {
    moment: 'the durable sequence has advanced',
    module: 'engine/slots',
    className: 'Slots',
    method: 'advance',
    when: 'before',
    calls: 100,
  },
  // Control calls.
  ...['create', 'share', 'revert', 'delete', 'resize'].flatMap((change): DeathPoint[] => [
    {
      moment: `${change}: before its record`,
      module: 'engine/journal',
      className: 'Journal',
      method: 'control',
      when: 'before',
      change,
      calls: 2,
    },
    {
      moment: `${change}: after its record`,
      module: 'engine/journal',
      className: 'Journal',
      method: 'control',
      when: 'after',
      change,
      calls: 2,
    },
    {
      moment: `${change}: while it is made durable`,
      module: 'engine/journal',
      className: 'Journal',
      method: 'control',
      when: 'after',
      change,
      calls: 2,
      rounds: 30,
    },
  ]),
  { moment: 'a dropped tree is taken apart', module: 'engine/tree', className: 'Tree', method: 'dismantle', when: 'after', calls: 4 },
  { moment: 'a page is copied', module: 'engine/page-table', className: 'PageTable', method: 'copy', when: 'after', calls: 10 },
  // A checkpoint.
  { moment: 'checkpoint is captured', module: 'engine/page-table', className: 'PageTable', method: 'capture', when: 'after', calls: 4 },
  {
    moment: 'checkpoint is being encoded',
    module: 'engine/page-table',
    className: 'PageTable',
    method: 'encodeSome',
    when: 'after',
    calls: 4,
  },
  {
    moment: 'checkpoint is not yet committed',
    module: 'store/metadata/client',
    className: 'MetadataStoreClient',
    method: 'commit',
    when: 'before',
    calls: 4,
  },
  {
    moment: 'checkpoint is being committed',
    module: 'store/metadata/client',
    className: 'MetadataStoreClient',
    method: 'commit',
    when: 'after',
    calls: 4,
    rounds: 60,
  },
  {
    moment: 'checkpoint is committed, nobody knows',
    module: 'store/metadata/environment',
    className: 'MetadataEnvironment',
    method: 'commit',
    when: 'after',
    calls: 4,
  },
  {
    moment: 'checkpoint is committed, nothing is trimmed',
    module: 'engine/page-table',
    className: 'PageTable',
    method: 'committed',
    when: 'after',
    calls: 4,
  },
  { moment: 'the ring has its new base', module: 'engine/record-ring', className: 'RecordRing', method: 'rebase', when: 'after', calls: 4 },
  {
    moment: 'the ring is trimmed, the log is not',
    module: 'engine/record-ring',
    className: 'RecordRing',
    method: 'trim',
    when: 'after',
    calls: 4,
  },
  {
    moment: 'ring and log are trimmed',
    module: 'engine/durability',
    className: 'Durability',
    method: 'checkpointed',
    when: 'after',
    calls: 4,
  },
  // A start.
  {
    moment: 'start: metadata is read',
    module: 'store/metadata/client',
    className: 'MetadataStoreClient',
    method: 'load',
    when: 'after',
    calls: 1,
    rounds: 3,
  },
  { moment: 'start: log is to be read', module: 'engine/record-log', className: 'RecordLog', method: 'recover', when: 'before', calls: 1 },
  {
    moment: 'start: log is being read',
    module: 'engine/record-log',
    className: 'RecordLog',
    method: 'recover',
    when: 'after',
    calls: 1,
    rounds: 2,
  },
  {
    moment: 'start: records are read, none applied',
    module: 'engine/recovery',
    className: 'Replay',
    method: 'run',
    when: 'before',
    calls: 1,
  },
  { moment: 'start: records are being applied', module: 'engine/tree', className: 'Tree', method: 'setEntry', when: 'after', calls: 300 },
  { moment: 'start: records are applied', module: 'engine/recovery', className: 'Replay', method: 'run', when: 'after', calls: 1 },
  {
    moment: 'start: before the record of the new life',
    module: 'engine/journal',
    className: 'Journal',
    method: 'control',
    when: 'before',
    change: 'life',
    calls: 1,
  },
  {
    moment: 'start: after the record of the new life',
    module: 'engine/journal',
    className: 'Journal',
    method: 'control',
    when: 'after',
    change: 'life',
    calls: 1,
  },
  {
    moment: 'start: while the new life is made durable',
    module: 'engine/journal',
    className: 'Journal',
    method: 'control',
    when: 'after',
    change: 'life',
    calls: 1,
    rounds: 10,
  },
  { moment: 'start: a connection is taken over', module: 'block/sessions', className: 'Sessions', method: 'add', when: 'after', calls: 4 },
  {
    moment: 'start: requests are to be finished',
    module: 'block/sessions',
    className: 'Sessions',
    method: 'recover',
    when: 'before',
    calls: 1,
  },
  { moment: 'start: a request is adopted', module: 'block/requests', className: 'Requests', method: 'adopt', when: 'after', calls: 20 },
  { moment: 'start: a request is done again', module: 'block/requests', className: 'Requests', method: 'serve', when: 'after', calls: 20 },
  { moment: 'start: a reply is sent again', module: 'block/requests', className: 'Requests', method: 'answer', when: 'after', calls: 10 },
  { moment: 'start: the first slots are taken', module: 'engine/slots', className: 'Slots', method: 'settle', when: 'after', calls: 1 },
  {
    moment: 'start: references are being counted',
    module: 'engine/counter',
    className: 'Counter',
    method: 'step',
    when: 'after',
    calls: 4,
  },
  { moment: 'start: references are counted', module: 'engine/slots', className: 'Slots', method: 'finishCount', when: 'after', calls: 1 },
];

/** What a store's process is told: a point by its number, which of its calls, and how many rounds of the loop later. */
export interface DeathOrder {
  /** The program's main module: beside it are the others. */
  readonly main: string;
  readonly point: number;
  readonly call: number;
  readonly round: number;
  /** A checkpoint is asked for every so many ticks of 100 ms: left alone, they are rarer than deaths. */
  readonly checkpointTicks: number;
}

export const DEATH_ORDER_VARIABLE = 'CHUNKSTORE_TEST_DEATH';
