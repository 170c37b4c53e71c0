import { hash, randomUUID } from 'node:crypto'
import { LruMap } from 'toad-cache'
import { Refusal } from '../errors.ts'
import type { RedisClient, RedisScript } from '../store/redis-client.ts'
import type {
  PendingSignIn,
  SessionList,
  SessionQuery,
  SessionRecord,
  SessionStore,
  SessionsOf
} from './contract.ts'
import { handleOf } from './handle.ts'
import { recordOf, signInOf, textOf } from './record-text.ts'
import {
  destroyOfScript,
  destroyScript,
  endScript,
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
  /** Most of them from one client. Default 2,000: a whole office may have one address. */
  maxSignInsOfOne?: number
  /** Milliseconds since the epoch. Default: the clock of the Redis server. */
  now?: () => number
}

type Step = (...values: (string | number)[]) => Promise<unknown>

const prefix = 'sallyport:{session}'
/** A list is read in so many pieces at most: ten thousand sessions. */
const maxPieces = 10
/** Sessions whose text has been read just now, and for how many milliseconds that is remembered. */
const maxRead = 1000
const rememberedFor = 60_000

/**
 * Sessions that all replicas know: who signs out at one is out at all of them, and one of them refreshes. Every step is one atomic
 * call, every key ends by itself. While Redis is down no session is known and nobody is let in: it rejects with a `Refusal`,
 * `session.unavailable`, whatever `redis.onError` says, because that is about limits.
 */
export class RedisSessionStore implements SessionStore {
  readonly name = 'redis'
  readonly #maxSessions: number
  readonly #maxSignIns: number
  readonly #maxSignInsOfOne: number
  readonly #now: (() => number) | null
  /** Redis is asked each time. The same text is the same record, so that what is known of a record is known of the next request's. */
  readonly #read = new LruMap<{ text: string; record: SessionRecord }>(maxRead, rememberedFor)
  readonly #get: Step
  readonly #set: Step
  readonly #touch: Step
  readonly #destroy: Step
  readonly #destroyOf: Step
  readonly #end: Step
  readonly #list: Step
  readonly #keep: Step
  readonly #take: Step
  readonly #lock: Step
  readonly #unlock: Step

  constructor(client: RedisClient, options: RedisSessionStoreOptions = {}) {
    this.#maxSessions = options.maxSessions ?? 1_000_000
    this.#maxSignIns = options.maxSignIns ?? 10_000
    this.#maxSignInsOfOne = options.maxSignInsOfOne ?? 2000
    this.#now = options.now ?? null
    const step = (name: string, lua: string) => this.#step(client.script(`sallyportSession${name}`, lua))
    this.#get = step('Get', getScript)
    this.#set = step('Set', setScript)
    this.#touch = step('Touch', touchScript)
    this.#destroy = step('Destroy', destroyScript)
    this.#destroyOf = step('DestroyOf', destroyOfScript)
    this.#end = step('End', endScript)
    this.#list = step('List', listScript)
    this.#keep = step('Keep', keepScript)
    this.#take = step('Take', takeScript)
    this.#lock = step('Lock', lockScript)
    this.#unlock = step('Unlock', unlockScript)
  }

  async get(id: string): Promise<SessionRecord | null> {
    const handle = handleOf(id)
    const text = (await this.#get(handle)) as string | null
    const known = this.#read.get(handle)
    if (known !== undefined && known.text === text) return known.record
    const record = text === null ? null : recordOf(text)
    if (text === null || record === null) this.#read.delete(handle)
    else this.#read.set(handle, { text, record })
    return record
  }

  async set(id: string, record: SessionRecord): Promise<void> {
    await this.#set(0, this.#maxSessions, handleOf(id), textOf(record), ...listsOf(record))
  }

  async update(id: string, record: SessionRecord): Promise<boolean> {
    const lists = listsOf(record)
    return (await this.#set(1, this.#maxSessions, handleOf(id), textOf(record), ...lists)) === 1
  }

  /** Never rejects: a session that cannot be prolonged ends earlier. */
  async touch(id: string): Promise<void> {
    await this.#touch(handleOf(id)).catch(endsEarlier)
  }

  async destroy(id: string): Promise<void> {
    await this.#destroy(handleOf(id))
  }

  async destroyOf({ issuer, sid, subject }: SessionsOf): Promise<number> {
    const list = sid === undefined ? listOf('sub', issuer, subject ?? '') : listOf('sid', issuer, sid)
    let count = 0
    for (let from = 0; from !== -1; ) {
      const steps = await this.#destroyOf(from, list, issuer, ...wanted(sid), ...wanted(subject))
      const [next, ended] = steps as [number, number]
      count += ended
      from = next
    }
    return count
  }

  async end(handle: string): Promise<SessionRecord | null> {
    const text = (await this.#end(handle)) as string | null
    return text === null ? null : recordOf(text)
  }

  async list({ limit, issuer, subject }: SessionQuery): Promise<SessionList> {
    const isOfOne = issuer !== undefined && subject !== undefined
    const list = isOfOne ? listOf('sub', issuer, subject) : 'all'
    const found: { handle: string; record: SessionRecord }[] = []
    let from = 0
    for (let pieces = 0; pieces < maxPieces && from !== -1; pieces++) {
      // One more than wanted: to know whether there are more.
      const most = limit + 1 - found.length
      const answer = await this.#list(from, list, most, ...wanted(issuer), ...wanted(subject))
      const [next, ...texts] = answer as [number, ...string[]]
      for (let i = 0; i + 1 < texts.length; i += 2) {
        const record = recordOf(texts[i + 1] as string)
        if (record !== null) found.push({ handle: texts[i] as string, record })
      }
      if (found.length > limit) return { sessions: found.slice(0, limit), isCut: true }
      from = next
    }
    return { sessions: found, isCut: from !== -1 }
  }

  async keep(key: string, signIn: PendingSignIn, ttl: number, from: string): Promise<void> {
    const most = [this.#maxSignIns, this.#maxSignInsOfOne]
    await this.#keep(digest(key), JSON.stringify(signIn), ttl, digest(from), ...most)
  }

  async take(key: string): Promise<PendingSignIn | null> {
    const text = (await this.#take(digest(key))) as string | null
    return text === null ? null : signInOf(text)
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
