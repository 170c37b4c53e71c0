import type { Duplex } from 'node:stream'
import type { Refusal } from './errors.ts'
import type { Exchange } from './exchange.ts'
import type { Identity } from './identity.ts'
import type { Logger } from './log.ts'
import type { Outcome, OutcomeListener } from './outcome.ts'

/** What an exchange needs to know of the route that it was matched to. */
export interface ExchangeRoute {
  readonly name: string
  readonly outcomeListeners: readonly OutcomeListener[]
  /** Names of the issuers that people sign in with on this route; empty: it is none for people. */
  readonly signInIssuers: readonly string[]
  /** Milliseconds for a whole request to arrive. */
  readonly bodyTimeout: number
  /** `requests_in_flight` of the route. */
  readonly inFlight: { value: number }
}

/** What is under way for an exchange at an upstream. */
export interface UpstreamCall {
  /** The client has gone: ends the call, and hears of no further events. */
  cancel(): void
  /**
   * The gateway goes: says so to both sides where the protocol has words for it, and ends. Left out where an answer has its
   * own end that is waited for.
   */
  leave?(): void
  /**
   * The credential that let the client in has ended: ends a call that would go on. One that was not withdrawn but has run out lets
   * finish what has an end of its own.
   */
  revoke?(refusal: Refusal, isWithdrawn: boolean): void
  /**
   * The drain deadline has passed: the client gets the ending that its protocol has for that, where it has one, and the call is
   * over. What it writes needs a turn or two of the event loop before the connection may go.
   */
  cut?(): void
}

/** The connection of a WebSocket handshake, which is no HTTP connection any more. */
export interface Upgrade {
  readonly socket: Duplex
  /** What the client has sent after its handshake. */
  readonly head: Buffer
}

/** Who hears of every exchange, whatever its route: the generation that took it. */
export interface ExchangeObserver {
  began(exchange: Exchange): void
  /** After the route's own listeners. */
  ended(exchange: Exchange, outcome: Outcome): void
  readonly log: Logger
  /** Name of the gateway's session cookie; null or left out where nobody signs in. */
  readonly sessionCookie?: string | null
  /** Milliseconds that an identity counts beyond its `expiresAt`. Left out: none. */
  graceOf?(identity: Identity): number
}
