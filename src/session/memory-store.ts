import type {
  PendingSignIn,
  SessionList,
  SessionQuery,
  SessionRecord,
  SessionStore,
  SessionsOf
} from './contract.ts'
import { handleOf } from './handle.ts'
import { SignInsUnderWay } from './sign-ins.ts'

export interface MemorySessionStoreOptions {
  /** Most sessions; beyond it the one that was not used for longest ends. Default 50,000. */
  maxSessions?: number
  /** Most sign-ins under way. Default 10,000. */
  maxSignIns?: number
  /** Most of them from one client. Default 2,000: a whole office may have one address. */
  maxSignInsOfOne?: number
  /** Milliseconds since the epoch. Default `Date.now()`. */
  now?: () => number
}

interface Entry {
  readonly handle: string
  record: SessionRecord
  expires: number
}

interface Kept<Value> {
  readonly value: Value
  readonly expires: number
}

/** Sessions of this process. A map remembers the order of its keys: the first one is the one that was not used for longest. */
export class MemorySessionStore implements SessionStore {
  readonly name = 'memory'
  readonly #maxSessions: number
  readonly #now: () => number
  readonly #sessions = new Map<string, Entry>()
  /** Ids by what an issuer calls them. */
  readonly #ids = new Map<string, Set<string>>()
  /** Ids by handle. */
  readonly #handles = new Map<string, string>()
  readonly #signIns: SignInsUnderWay
  readonly #locks = new Map<string, Kept<symbol>>()

  constructor(options: MemorySessionStoreOptions = {}) {
    this.#maxSessions = options.maxSessions ?? 50_000
    this.#signIns = new SignInsUnderWay(options.maxSignIns ?? 10_000, options.maxSignInsOfOne ?? 2000)
    this.#now = options.now ?? (() => Date.now())
  }

  get(id: string): SessionRecord | null {
    const entry = this.#sessions.get(id)
    if (entry === undefined) return null
    if (this.#now() < entry.expires) return entry.record
    this.destroy(id)
    return null
  }

  set(id: string, record: SessionRecord): void {
    this.destroy(id)
    this.#dropEnded()
    if (this.#sessions.size >= this.#maxSessions) this.destroy(first(this.#sessions))
    const handle = handleOf(id)
    this.#handles.set(handle, id)
    this.#sessions.set(id, { handle, record, expires: this.#expiry(record) })
    for (const key of indexKeys(record)) this.#index(key).add(id)
  }

  update(id: string, record: SessionRecord): boolean {
    if (this.get(id) === null) return false
    this.set(id, record)
    return true
  }

  touch(id: string): void {
    const entry = this.#sessions.get(id)
    const now = this.#now()
    if (entry === undefined || now >= entry.expires) return
    entry.expires = this.#expiry(entry.record)
    this.#sessions.delete(id)
    this.#sessions.set(id, entry)
  }

  destroy(id: string): void {
    const entry = this.#sessions.get(id)
    if (entry === undefined) return
    this.#sessions.delete(id)
    this.#handles.delete(entry.handle)
    for (const key of indexKeys(entry.record)) {
      const ids = this.#index(key)
      ids.delete(id)
      if (ids.size === 0) this.#ids.delete(key)
    }
  }

  destroyOf({ issuer, sid, subject }: SessionsOf): number {
    const key = sid === undefined ? subjectKey(issuer, subject ?? '') : sidKey(issuer, sid)
    let count = 0
    for (const id of [...(this.#ids.get(key) ?? [])]) {
      const record = this.get(id)
      if (record === null || (subject !== undefined && record.subject !== subject)) continue
      this.destroy(id)
      count++
    }
    return count
  }

  end(handle: string): SessionRecord | null {
    const id = this.#handles.get(handle)
    if (id === undefined) return null
    const record = this.get(id)
    this.destroy(id)
    return record
  }

  list({ limit, issuer, subject }: SessionQuery): SessionList {
    const now = this.#now()
    const isOfOne = issuer !== undefined && subject !== undefined
    const ids = isOfOne ? (this.#ids.get(subjectKey(issuer, subject)) ?? []) : this.#sessions.keys()
    const sessions: { handle: string; record: SessionRecord }[] = []
    for (const id of ids) {
      const { handle, record, expires } = this.#sessions.get(id) as Entry
      if (now >= expires) continue
      if (issuer !== undefined && record.issuer !== issuer) continue
      if (subject !== undefined && record.subject !== subject) continue
      if (sessions.length >= limit) return { sessions, isCut: true }
      sessions.push({ handle, record })
    }
    return { sessions, isCut: false }
  }

  keep(key: string, signIn: PendingSignIn, ttl: number, from: string): void {
    const now = this.#now()
    this.#signIns.keep(key, { signIn, from, expires: now + ttl }, now)
  }

  take(key: string): PendingSignIn | null {
    return this.#signIns.take(key, this.#now())
  }

  lock(key: string, ttl: number): (() => void) | null {
    const now = this.#now()
    const held = this.#locks.get(key)
    if (held !== undefined && now < held.expires) return null
    const mine = Symbol(key)
    keepOne(this.#locks, key, { value: mine, expires: now + ttl }, this.#maxSessions, now)
    return () => {
      if (this.#locks.get(key)?.value === mine) this.#locks.delete(key)
    }
  }

  async close(): Promise<void> {
    for (const map of [this.#sessions, this.#ids, this.#handles, this.#signIns, this.#locks]) map.clear()
  }

  #index(key: string): Set<string> {
    const known = this.#ids.get(key)
    if (known !== undefined) return known
    const ids = new Set<string>()
    this.#ids.set(key, ids)
    return ids
  }

  #expiry(record: SessionRecord): number {
    return Math.min(this.#now() + record.idle, record.endsAt)
  }

  /** Two steps for one new session are enough to stay ahead. */
  #dropEnded(): void {
    for (let step = 0; step < 2 && this.#sessions.size > 0; step++) {
      const id = first(this.#sessions)
      if (this.#now() < (this.#sessions.get(id) as Entry).expires) return
      this.destroy(id)
    }
  }
}

/** Those that were kept first are the first to go: when they have run out, and when there are too many. */
function keepOne<Value>(
  map: Map<string, Kept<Value>>,
  key: string,
  kept: Kept<Value>,
  max: number,
  now: number
): void {
  map.delete(key)
  for (const [old, { expires }] of map) {
    if (now < expires && map.size < max) break
    map.delete(old)
  }
  map.set(key, kept)
}

function first(map: ReadonlyMap<string, unknown>): string {
  return map.keys().next().value as string
}

function indexKeys({ issuer, subject, sid }: SessionRecord): string[] {
  return sid === null ? [subjectKey(issuer, subject)] : [subjectKey(issuer, subject), sidKey(issuer, sid)]
}

function subjectKey(issuer: string, subject: string): string {
  return JSON.stringify(['sub', issuer, subject])
}

function sidKey(issuer: string, sid: string): string {
  return JSON.stringify(['sid', issuer, sid])
}
