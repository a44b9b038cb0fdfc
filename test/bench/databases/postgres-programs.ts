/** Where PostgreSQL's programs are, and who may run them: the server refuses to run as root. */
import fs from 'node:fs';
import path from 'node:path';

export interface PostgresPrograms {
  /** The folder of initdb, postgres and pgbench. */
  readonly folder: string;
  /** Whom they run as. */
  readonly user: { readonly uid: number; readonly gid: number };
}

/** Where Debian has them, by version. */
const VERSIONS = '/usr/lib/postgresql';
/** The package makes the first one. */
const USERS = ['postgres', 'nobody'];

/** Why they cannot be had, in words; otherwise what was found. */
export function findPostgres(): PostgresPrograms | string {
  const versions = fs.existsSync(VERSIONS) ? fs.readdirSync(VERSIONS).toSorted((a, b) => Number(b) - Number(a)) : [];
  const folders = [...versions.map((version) => path.join(VERSIONS, version, 'bin')), ...(process.env['PATH'] ?? '').split(':')];
  const folder = folders.find(
    (one) => one !== '' && ['initdb', 'postgres', 'pgbench'].every((name) => fs.existsSync(path.join(one, name))),
  );
  if (folder === undefined) return 'not installed: postgresql (initdb, postgres and pgbench)';
  const user = userOf(fs.readFileSync('/etc/passwd', 'utf8'));
  return user === null ? `no user ${USERS.join(' or ')} to run it as` : { folder, user };
}

function userOf(passwords: string): PostgresPrograms['user'] | null {
  const lines = passwords.split('\n').map((line) => line.split(':'));
  for (const name of USERS) {
    const line = lines.find(([first]) => first === name);
    if (line !== undefined) return { uid: Number(line[2]), gid: Number(line[3]) };
  }
  return null;
}
