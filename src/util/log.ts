/** Structured logs: one JSON object a line on standard error, so that standard output stays for answers. */
import { destination, pino, type Logger } from 'pino';

export type { Logger } from 'pino';

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** A logger whose every line names the role. Lines are written synchronously: the last one before a death counts most. */
export function createLogger(options: { readonly role: string; readonly level: LogLevel }): Logger {
  return pino(
    { level: options.level, base: { role: options.role, pid: process.pid }, timestamp: () => `,"time":"${new Date().toISOString()}"` },
    destination({ fd: 2, sync: true }),
  );
}

/** For tests and for parts that may go without. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}
