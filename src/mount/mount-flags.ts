/**
 * Mount options that a user may hand over (mountOptions of a StorageClass, mount_flags of CSI). Each is checked before
 * it reaches mount(8): none may change what is mounted where, reach for another device, or smuggle in a second option.
 */
import { StoreError } from '../util/errors.ts';

/**
 * Splits and checks the flags. One flag may hold several options separated by commas, as people write them; a comma
 * within double quotes belongs to its value (SELinux contexts). Errors: `invalid-argument` naming the option.
 */
export function parseMountFlags(flags: readonly string[]): string[] {
  return flags.flatMap((flag) => splitOptions(flag)).map(checkedOption);
}

/** The options that a bind mount can have of its own; all others belong to the file system and were given to it. */
export function bindOptions(options: readonly string[]): string[] {
  return options.filter((option) => optionsOfMounts.has(option));
}

/** The options for `mount -o`, without what contradicts the wish for a read-only or a writable mount. */
export function joinOptions(options: readonly string[], wish: { readonly readOnly: boolean }): string {
  const rest = options.filter((option) => option !== 'rw' && option !== 'ro');
  // A user's "ro" stays in force on a mount that is asked for as writable.
  const readOnly = wish.readOnly || options.includes('ro');
  return [...new Set([readOnly ? 'ro' : 'rw', ...rest])].join(',');
}

function splitOptions(flag: string): string[] {
  const options: string[] = [];
  let start = 0;
  let quoted = false;
  for (let index = 0; index < flag.length; index += 1) {
    if (flag[index] === '"') quoted = !quoted;
    if (flag[index] !== ',' || quoted) continue;
    options.push(flag.slice(start, index));
    start = index + 1;
  }
  if (quoted) refuse(flag, 'its quotes are not closed');
  return [...options, flag.slice(start)];
}

function checkedOption(option: string): string {
  if (option === '') refuse(option, 'an option is empty');
  if (option.length > optionLengthLimit) refuse(option.slice(0, 40), `it is longer than ${optionLengthLimit} characters`);
  // oxlint-disable-next-line no-control-regex
  if (/[\u0000-\u001f\u007f\\]/.test(option)) refuse(JSON.stringify(option), 'it holds a control character or a backslash');
  const parts = /^([A-Za-z][A-Za-z0-9_.:-]*)(?:=([^" ]+|"[^"]*"))?$/.exec(option);
  if (parts === null) refuse(option, 'it is neither a name nor name=value');
  const name = (parts[1] ?? '').toLowerCase();
  if (refusedOptions.has(name) || name.startsWith('x-'))
    refuse(option, 'it changes what is mounted or where, which is not for a volume to choose');
  return option;
}

function refuse(option: string, reason: string): never {
  throw new StoreError('invalid-argument', `the mount flag "${option}" is not allowed: ${reason}`);
}

const optionLengthLimit = 1024;

const refusedOptions = new Set(
  [
    // Operations of mount(8) that stand among its options, and the propagation of mounts.
    'bind rbind move remount shared rshared slave rslave private rprivate unbindable runbindable',
    // What mount(8) does by itself before it mounts.
    'loop offset sizelimit encryption helper uhelper user users owner group auto verity.roothash verity.hashdevice verity.roothashfile',
    // Other devices and files of the node.
    'device logdev rtdev journal_dev journal_path lowerdir upperdir workdir',
  ].flatMap((names) => names.split(' ')),
);

const optionsOfMounts = new Set(
  [
    'ro rw nosuid suid nodev dev noexec exec nosymfollow symfollow',
    'noatime atime nodiratime diratime relatime norelatime strictatime nostrictatime',
  ].flatMap((names) => names.split(' ')),
);
