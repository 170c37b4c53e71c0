import type { Credentials } from '../credentials.ts'
import type { Command } from '../peers/peer.ts'

/**
 * What a proxy does to each call:
 * - `plain`: forwards it
 * - `full`: and checks its token, decides by its scopes, limits each subject's rate, counts and times calls, writes a line
 */
export type GrpcChain = 'plain' | 'full'

/** What one instance is built for. */
export interface GrpcSetting {
  /** An empty folder of its own, for configuration files. */
  readonly folder: string
  /** Where it takes HTTP/2 without TLS, on 127.0.0.1. */
  readonly port: number
  readonly upstreamPort: number
  readonly credentials: Credentials
  /** Calls a minute and subject. */
  readonly limit: number
}

/** One line of the comparison. */
export interface GrpcPeer {
  /** Bare word, for `--only`. */
  readonly name: string
  readonly title: string
  readonly chain: GrpcChain
  /** One sentence for the report: how it is set up. */
  readonly setup: string
  /** Version in words; null when it is not installed. */
  version(): string | null
  prepare(setting: GrpcSetting): Command
}

/** The one service that is called. */
export const service = 'bench.v1.Echo'

/** The one method of it: unary, answers with what it got. */
export const method = 'Say'

/** The scope that the full chain asks for. */
export const scope = 'orders:read'
