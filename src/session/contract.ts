type Awaitable<Value> = Value | Promise<Value>

/** One browser's session. Plain data that a store may keep as JSON; never changed, only replaced. Times: ms since the epoch. */
export interface SessionRecord {
  /** Name of the issuer in the configuration, its `iss`, and the client that signed in there. */
  readonly issuerName: string
  readonly issuer: string
  readonly clientId: string
  readonly subject: string
  /** The issuer's own id of the session; null where it gives none. */
  readonly sid: string | null
  /** The host that the person signed in at, without a port: cookies know none. */
  readonly host: string
  /** Of the last ID token, with the scope that was granted. */
  readonly claims: Readonly<Record<string, unknown>>
  /** What the issuer last said of the person beside it; left out where it says nothing. */
  readonly userInfo?: Readonly<Record<string, unknown>>
  /** For the sign-out at the issuer. */
  readonly idToken: string
  /** Null: the issuer is not asked again before the session ends. */
  readonly refreshToken: string | null
  /** From when on the tokens are refreshed, and when the last ones expire. */
  readonly refreshAt: number
  readonly staleAt: number
  readonly createdAt: number
  /** The session ends then, used or not. */
  readonly endsAt: number
  /** The session ends when it is not used for so many milliseconds. */
  readonly idle: number
}

/** The session of a request. */
export interface CurrentSession {
  readonly id: string
  readonly record: SessionRecord
}

/** A sign-in that has left for the issuer and is not back yet. */
export interface PendingSignIn {
  readonly issuerName: string
  readonly state: string
  readonly nonce: string
  readonly verifier: string
  /** Scheme and host that the browser comes back to. */
  readonly origin: string
  /** The path there. */
  readonly callback: string
  /** Path and query that the person asked for. */
  readonly returnTo: string
}

/** Which sessions an issuer ends: the one of `sid`, or all of a subject. */
export interface SessionsOf {
  readonly issuer: string
  readonly sid?: string
  readonly subject?: string
}

/** Which sessions are listed: those of an issuer, of a subject, of both, or all. */
export interface SessionQuery {
  /** Most sessions of an answer. */
  readonly limit: number
  readonly issuer?: string | undefined
  readonly subject?: string | undefined
}

export interface SessionList {
  readonly sessions: readonly { readonly handle: string; readonly record: SessionRecord }[]
  /** There may be more than these. */
  readonly isCut: boolean
}

/**
 * Where sessions are kept. One contract for every store, one suite (`test/contract/session-store.ts`) that each must pass.
 * Every entry ends by itself, and a store never grows without bound.
 */
export interface SessionStore {
  readonly name: string
  /** Null: there is none, or it has ended. */
  get(id: string): Awaitable<SessionRecord | null>
  /** A new session. */
  set(id: string, record: SessionRecord): Awaitable<void>
  /**
   * Replaces a session that is still there, and answers whether it was: what comes late, such as refreshed tokens, never brings
   * back a session that has ended.
   */
  update(id: string, record: SessionRecord): Awaitable<boolean>
  /** The session is used: its idle time begins again. */
  touch(id: string): Awaitable<void>
  destroy(id: string): Awaitable<void>
  /** Ends those sessions, and answers how many there were. */
  destroyOf(which: SessionsOf): Awaitable<number>
  /** Ends the session with that handle (`handleOf` of its id), and answers what it was; null: there is none. */
  end(handle: string): Awaitable<SessionRecord | null>
  /** Sessions that are alive, by their handles: an id would let whoever reads the list in. The work is bounded. */
  list(query: SessionQuery): Awaitable<SessionList>
  /**
   * Keeps a sign-in for `ttl` milliseconds. When there are too many of one client, its oldest goes, and when there are too many
   * of all, the oldest.
   * @param from what a client is told from others by: its network
   */
  keep(key: string, signIn: PendingSignIn, ttl: number, from: string): Awaitable<void>
  /** Gives a sign-in away, once. */
  take(key: string): Awaitable<PendingSignIn | null>
  /** Null: somebody else holds it. It ends by itself after `ttl` milliseconds. The answer lets go of it. */
  lock(key: string, ttl: number): Awaitable<(() => Awaitable<void>) | null>
  close(): Promise<void>
}
