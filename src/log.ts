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

const maxWaiting = 16 * 1024 * 1024

/**
 * JSON lines on standard output, one object a line. Writes are collected and flushed by size and when the loop is idle,
 * because a synchronous write per request costs more than the rest of the log line. When nobody reads them, at most 16 MiB
 * wait and further lines are dropped: a stuck log collector must not take the memory of the gateway.
 */
export function createLog(level: string, destination?: DestinationStream): Logger {
  const stream =
    destination ??
    pino.destination({ fd: 1, sync: false, minLength: 4096, maxLength: maxWaiting, periodicFlush: 500 })
  return pino(
    {
      name: 'sallyport',
      level,
      base: undefined,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
      serializers: { err: error => describeError(error), req: describeRequest, request: describeRequest },
      redact: { paths: redact, censor: '[redacted]' }
    },
    stream
  )
}

/** A plugin that logs a whole request gets its method: the target has a query, and the headers have credentials. */
function describeRequest(request: { method?: unknown } | null): { method: unknown } {
  return { method: request?.method ?? null }
}

interface ErrorLine {
  type: string
  message: string
  code?: string
  stack?: string
  cause?: ErrorLine
}

/**
 * What a line says of an error. Nothing of its other properties: libraries hang the request that failed on it, with its
 * headers.
 */
export function describeError(error: unknown, depth = 0): ErrorLine {
  if (!(error instanceof Error))
    return { type: typeof error, message: 'something else than an error was thrown' }
  const line: ErrorLine = { type: error.name, message: error.message }
  const { code } = error as { code?: unknown }
  if (typeof code === 'string') line.code = code
  if (error.stack !== undefined) line.stack = error.stack
  if (error.cause instanceof Error && depth < 4) line.cause = describeError(error.cause, depth + 1)
  return line
}
