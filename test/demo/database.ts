/**
 * A bank in SQLite, as a process of its own, so that its transactions are under way while a snapshot is cut:
 *   database.ts write FILE     opens or makes it and transfers money, one durable transaction after the other, until its
 *                              standard input ends; prints the number of each transaction once it is committed
 *   database.ts inspect FILE   opens it, which recovers what a crash left, and prints as JSON what it found
 * Money is only ever moved: the sum of all accounts is known, and each balance follows from the transfers.
 */
import { DatabaseSync } from 'node:sqlite';

const accounts = 500;
const openingBalance = 10_000;
const transfersEach = 20;

export interface Inspection {
  /** SQLite's own integrity check passed, the sum is right, and every balance follows from the transfers. */
  readonly sound: boolean;
  /** What is wrong, for a person. */
  readonly findings: readonly string[];
  /** Committed and whole. */
  readonly transactions: number;
}

async function write(file: string): Promise<void> {
  const database = open(file);
  database.exec(`
    CREATE TABLE IF NOT EXISTS account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL) STRICT;
    CREATE TABLE IF NOT EXISTS transfer (
      id INTEGER PRIMARY KEY, number INTEGER NOT NULL, giver INTEGER NOT NULL, taker INTEGER NOT NULL,
      amount INTEGER NOT NULL, note TEXT NOT NULL
    ) STRICT;
    CREATE INDEX IF NOT EXISTS transfer_giver ON transfer (giver);
    CREATE INDEX IF NOT EXISTS transfer_taker ON transfer (taker);
    BEGIN;
  `);
  const openAccount = database.prepare('INSERT OR IGNORE INTO account (id, balance) VALUES (?, ?)');
  for (let id = 0; id < accounts; id += 1) openAccount.run(id, openingBalance);
  database.exec('COMMIT');

  const change = database.prepare('UPDATE account SET balance = balance + ? WHERE id = ?');
  const record = database.prepare('INSERT INTO transfer (number, giver, taker, amount, note) VALUES (?, ?, ?, ?, ?)');
  let number = Number(database.prepare('SELECT coalesce(max(number), 0) AS last FROM transfer').get()!['last']);
  let ended = false;
  process.stdin.resume().on('end', () => {
    ended = true;
  });
  while (!ended) {
    number += 1;
    database.exec('BEGIN IMMEDIATE');
    for (let step = 0; step < transfersEach; step += 1) {
      const giver = (number * 31 + step * 17) % accounts;
      const taker = (number * 7 + step * 13 + 1) % accounts;
      change.run(-step, giver);
      change.run(step, taker);
      record.run(number, giver, taker, step, `transfer ${step} of transaction ${number}`.padEnd(120, '.'));
    }
    database.exec('COMMIT');
    process.stdout.write(`${number}\n`);
    await new Promise((resolve) => setImmediate(resolve));
  }
  database.close();
}

function inspect(file: string): Inspection {
  const findings: string[] = [];
  let transactions = 0;
  try {
    const database = open(file);
    const value = (query: string): unknown => Object.values(database.prepare(query).get() ?? {})[0];
    const integrity = value('PRAGMA integrity_check');
    if (integrity !== 'ok') findings.push(`integrity_check says: ${String(integrity)}`);
    transactions = Number(value('SELECT count(DISTINCT number) FROM transfer'));
    const sum = value('SELECT sum(balance) FROM account');
    if (sum !== accounts * openingBalance) findings.push(`the accounts hold ${String(sum)}, not ${accounts * openingBalance}`);
    const torn = value(`SELECT count(*) FROM (SELECT number FROM transfer GROUP BY number HAVING count(*) <> ${transfersEach})`);
    if (torn !== 0) findings.push(`${String(torn)} transactions are torn`);
    const wrong = value(`
      SELECT count(*) FROM account WHERE balance <> ${openingBalance}
        + (SELECT coalesce(sum(amount), 0) FROM transfer WHERE taker = account.id)
        - (SELECT coalesce(sum(amount), 0) FROM transfer WHERE giver = account.id)`);
    if (wrong !== 0) findings.push(`${String(wrong)} balances do not follow from the transfers`);
    database.close();
  } catch (error) {
    findings.push((error as Error).message);
  }
  return { sound: findings.length === 0, findings, transactions };
}

function open(file: string): DatabaseSync {
  const database = new DatabaseSync(file);
  // Every commit is on the disk before it is reported.
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
  return database;
}

if (import.meta.main) {
  const [action, file] = process.argv.slice(2);
  if (file === undefined) throw new Error('usage: database.ts write|inspect FILE');
  if (action === 'write') await write(file);
  else process.stdout.write(JSON.stringify(inspect(file)));
}
