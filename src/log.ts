import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino'

export type Logger = PinoLogger

/** Header and option names whose values never reach a log line, at any depth that we log. */
const redact = [
  'authorization',
  'cookie',
  'set-cookie',
  'proxy-authorization',
  'secret',
  'password',
  'token',
  'apiKey',
  'headers.authorization',
  'headers.cookie',
  'headers["set-cookie"]',
  'headers["proxy-authorization"]',
  'headers["x-api-key"]'
]

/**
 * JSON lines on standard output, one object a line. Writes are collected and flushed by size and when the loop is idle,
 * because a synchronous write per request costs more than the rest of the log line.
 */
export function createLog(level: string, destination?: DestinationStream): Logger {
  const stream = destination ?? pino.destination({ fd: 1, sync: false, minLength: 4096, periodicFlush: 500 })
  return pino(
    {
      name: 'sallyport',
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      redact: { paths: redact, censor: '[redacted]' }
    },
    stream
  )
}
