import { hash, randomUUID } from 'node:crypto'
import { Refusal } from '../errors.ts'
import type { RedisClient, RedisScript } from '../store/redis-client.ts'
import type { PendingSignIn, SessionRecord, SessionStore, SessionsOf } from './contract.ts'
import {
  destroyOfScript,
  destroyScript,
  getScript,
  keepScript,
  listScript,
  lockScript,
  setScript,
  takeScript,
  touchScript,
  unlockScript
} from './redis-scripts.ts'

export interface RedisSessionStoreOptions {
  /** Most sessions; beyond it the one whose lifetime ends first goes. Default 1,000,000. */
  maxSessions?: number
  /** Most sign-ins under way. Default 10,000. */
  maxSignIns?: number
  /** Milliseconds since the epoch. Default: the clock of the Redis server. */
  now?: () => number
}

type Step = (...values: (string | number)[]) => Promise<unknown>

const prefix = 'sallyport:{session}'

/**
 * Sessions that all replicas know: who signs out at one is out at all of them, and one of them refreshes. Every step is one atomic
 * call, every key ends by itself. While Redis is down no session is known and nobody is let in: it rejects with a `Refusal`,
 * `session.unavailable`, whatever `redis.onError` says, because that is about limits.
 */
export class RedisSessionStore implements SessionStore {
  readonly name = 'redis'
  readonly #maxSessions: number
  readonly #maxSignIns: number
  readonly #now: (() => number) | null
  readonly #get: Step
  readonly #set: Step
  readonly #touch: Step
  readonly #destroy: Step
  readonly #destroyOf: Step
  readonly #list: Step
  readonly #keep: Step
  readonly #take: Step
  readonly #lock: Step
  readonly #unlock: Step

  constructor(client: RedisClient, options: RedisSessionStoreOptions = {}) {
    this.#maxSessions = options.maxSessions ?? 1_000_000
    this.#maxSignIns = options.maxSignIns ?? 10_000
    this.#now = options.now ?? null
    const step = (name: string, lua: string) => this.#step(client.script(`sallyportSession${name}`, lua))
    this.#get = step('Get', getScript)
    this.#set = step('Set', setScript)
    this.#touch = step('Touch', touchScript)
    this.#destroy = step('Destroy', destroyScript)
    this.#destroyOf = step('DestroyOf', destroyOfScript)
    this.#list = step('List', listScript)
    this.#keep = step('Keep', keepScript)
    this.#take = step('Take', takeScript)
    this.#lock = step('Lock', lockScript)
    this.#unlock = step('Unlock', unlockScript)
  }

  async get(id: string): Promise<SessionRecord | null> {
    return recordOf((await this.#get(id)) as string | null)
  }

  async set(id: string, record: SessionRecord): Promise<void> {
    await this.#set(0, this.#maxSessions, id, textOf(record), ...listsOf(record))
  }

  async update(id: string, record: SessionRecord): Promise<boolean> {
    return (await this.#set(1, this.#maxSessions, id, textOf(record), ...listsOf(record))) === 1
  }

  /** Never rejects: a session that cannot be prolonged ends earlier. */
  async touch(id: string): Promise<void> {
    await this.#touch(id).catch(endsEarlier)
  }

  async destroy(id: string): Promise<void> {
    await this.#destroy(id)
  }

  async destroyOf({ issuer, sid, subject }: SessionsOf): Promise<number> {
    const list = sid === undefined ? listOf('sub', issuer, subject ?? '') : listOf('sid', issuer, sid)
    return (await this.#destroyOf(list, issuer, ...wanted(sid), ...wanted(subject))) as number
  }

  async list(limit: number): Promise<{ id: string; record: SessionRecord }[]> {
    const found = (await this.#list(limit)) as string[]
    const sessions: { id: string; record: SessionRecord }[] = []
    for (let i = 0; i + 1 < found.length; i += 2)
      sessions.push({ id: found[i] as string, record: recordOf(found[i + 1] as string) as SessionRecord })
    return sessions
  }

  async keep(key: string, signIn: PendingSignIn, ttl: number): Promise<void> {
    await this.#keep(digest(key), JSON.stringify(signIn), ttl, this.#maxSignIns)
  }

  async take(key: string): Promise<PendingSignIn | null> {
    const text = (await this.#take(digest(key))) as string | null
    return text === null ? null : (JSON.parse(text) as PendingSignIn)
  }

  async lock(key: string, ttl: number): Promise<(() => Promise<void>) | null> {
    const name = digest(key)
    const word = randomUUID()
    if ((await this.#lock(name, word, ttl)) !== 1) return null
    // Where Redis does not hear of it, the lock ends by itself.
    return () => this.#unlock(name, word).then(ignore, ignore)
  }

  /** The connection is its owner's to close. */
  async close(): Promise<void> {}

  #step(script: RedisScript): Step {
    return async (...values) => {
      try {
        return await script(prefix, this.#now === null ? '' : this.#now(), ...values)
      } catch (cause) {
        throw new Refusal('session.unavailable', { detail: 'Redis does not answer', cause })
      }
    }
  }
}

function textOf(record: SessionRecord): string {
  return `${record.endsAt} ${record.idle} ${JSON.stringify(record)}`
}

function recordOf(text: string | null): SessionRecord | null {
  if (text === null) return null
  return JSON.parse(text.slice(text.indexOf(' ', text.indexOf(' ') + 1) + 1)) as SessionRecord
}

function listsOf({ issuer, subject, sid }: SessionRecord): string[] {
  const ofSubject = listOf('sub', issuer, subject)
  return sid === null ? [ofSubject] : [ofSubject, listOf('sid', issuer, sid)]
}

function listOf(kind: 'sub' | 'sid', issuer: string, name: string): string {
  return digest(JSON.stringify([kind, issuer, name]))
}

function wanted(value: string | undefined): [string, string] {
  return value === undefined ? ['0', ''] : ['1', value]
}

/** One length whatever an issuer or a browser sends. */
function digest(text: string): string {
  return hash('sha256', text, 'base64url')
}

function ignore(): void {}
const endsEarlier = ignore
