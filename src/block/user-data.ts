/** What a ring operation carries to its completion: a kind in the upper byte, an index in the lower three. */
export const Kind = {
  reply: 2 << 24, // index: slot
  ready: 3 << 24, // poll of a FUSE connection; index: device
  disk: 4 << 24, // index: disk operation
  timer: 5 << 24,
  wakeReady: 6 << 24,
  wakeRead: 7 << 24,
  cancel: 8 << 24, // the canceling of a poll
} as const;

export const kindMask = 0x7f000000;
export const indexMask = 0x00ffffff;
