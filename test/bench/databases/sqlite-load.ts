/**
 * A process that runs transactions on a SQLite database, one after another: a balance changes, and a row says so. With
 * synchronous=FULL each is on the disk before the next begins. Prints one JSON document at its end.
 *
 *   node test/bench/databases/sqlite-load.ts FILE wal|delete SECONDS      (0 seconds: makes the database)
 */
import { DatabaseSync } from 'node:sqlite';

/** About ten mebibytes: more than SQLite's own cache, less than the machine's. */
const accounts = 100_000;
const busyLimitMs = 10_000;

const [file = '', journal = '', secondsText = ''] = process.argv.slice(2);
const seconds = Number(secondsText);
if (file === '' || !['wal', 'delete'].includes(journal) || !(seconds >= 0)) {
  console.error('sqlite-load.ts FILE wal|delete SECONDS');
  process.exit(2);
}

const database = new DatabaseSync(file, { timeout: busyLimitMs });
database.exec(`PRAGMA journal_mode=${journal}; PRAGMA synchronous=FULL`);
if (seconds === 0) make();
else load();
database.close();

function make(): void {
  database.exec(`
    CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, filler TEXT NOT NULL);
    CREATE TABLE history (id INTEGER PRIMARY KEY, account INTEGER NOT NULL, delta INTEGER NOT NULL, filler TEXT NOT NULL);
    BEGIN`);
  const insert = database.prepare('INSERT INTO account (id, balance, filler) VALUES (?, 0, ?)');
  for (let id = 0; id < accounts; id += 1) insert.run(id, 'x'.repeat(84));
  database.exec('COMMIT');
}

function load(): void {
  const update = database.prepare('UPDATE account SET balance = balance + ? WHERE id = ?');
  const insert = database.prepare("INSERT INTO history (account, delta, filler) VALUES (?, ?, '0123456789')");
  const transactions: { readonly endMs: number; readonly latencyUs: number }[] = [];
  const endMs = performance.now() + seconds * 1000;
  for (let nowMs = performance.now(); nowMs < endMs;) {
    const beganMs = nowMs;
    const account = Math.floor(Math.random() * accounts);
    const delta = Math.floor(Math.random() * 100);
    database.exec('BEGIN IMMEDIATE');
    update.run(delta, account);
    insert.run(account, delta);
    database.exec('COMMIT');
    nowMs = performance.now();
    transactions.push({ endMs: performance.timeOrigin + nowMs, latencyUs: Math.round((nowMs - beganMs) * 1000) });
  }
  process.stdout.write(JSON.stringify(transactions));
}
