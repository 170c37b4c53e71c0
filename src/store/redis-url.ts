/** Where a Redis is and how to sign in to it. */
export interface RedisAddress {
  readonly host: string
  readonly port: number
  /** Whether the connection is encrypted and the server's certificate verified. */
  readonly tls: boolean
  readonly username: string | undefined
  readonly password: string | undefined
  readonly db: number
}

/**
 * Reads `redis://` or `rediss://`. One parser for the check of the configuration and for the connection: the client library would
 * take options out of the query, and with them what keeps it from waiting or from verifying.
 *
 * @returns what is wrong with the text as a string, which never holds a part of it
 */
export function readRedisUrl(text: string): RedisAddress | string {
  if (!/^rediss?:\/\//.test(text)) return 'does not begin with redis:// or rediss://'
  if (!URL.canParse(text) || /[\s\\]/.test(text)) return 'is not a URL'
  const url = new URL(text)
  if (url.hostname === '') return 'names no host'
  if (/[?#]/.test(text)) return 'has a query or fragment'
  const [, db] = /^\/?(\d{0,4})$/.exec(url.pathname) ?? []
  if (db === undefined) return 'has a path that is no number of a database'
  const username = decoded(url.username)
  const password = decoded(url.password)
  if (username === null || password === null)
    return 'holds a user name or password that is not percent-encoded'
  return {
    host: url.hostname.replace(/^\[(.*)\]$/, '$1'),
    port: url.port === '' ? 6379 : Number(url.port),
    tls: url.protocol === 'rediss:',
    username,
    password,
    db: Number(db)
  }
}

function decoded(text: string): string | undefined | null {
  if (text === '') return undefined
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}
