import type { Credentials } from '../credentials.ts'

/**
 * What a peer does to each request:
 * - `plain`: forwards it
 * - `jwt`: and checks its RS256 token (signature, issuer, audience, expiry), remembering good tokens where it can
 * - `full`: and limits each subject's rate, and counts and times requests for Prometheus
 * - `full-log`: and writes a line about each
 * - `full-uncached`: `full`, with every token verified again, for peers that can do either
 */
export type Chain = 'plain' | 'jwt' | 'full' | 'full-log' | 'full-uncached'

/** What one instance of a peer is built for. */
export interface Setting {
  /** An empty folder of its own, for configuration files. */
  readonly folder: string
  /** Where it listens, on 127.0.0.1. */
  readonly port: number
  readonly upstreamPort: number
  readonly credentials: Credentials
  /** Requests a minute and subject. */
  readonly limit: number
}

/** How to start an instance. It stays in the foreground and ends on SIGTERM. */
export interface Command {
  readonly argv: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** It writes its access log to standard output: a pipe that somebody reads. */
  readonly logs?: boolean
}

/** One product of the comparison. */
export interface Peer {
  /** Bare word, for `--only`. */
  readonly name: string
  readonly title: string
  readonly chains: readonly Chain[]
  /** One sentence for the report: how it is set up. */
  readonly setup: string
  /** Version in words; null when it is not installed. */
  version(): string | null
  prepare(chain: Chain, setting: Setting): Command
}
