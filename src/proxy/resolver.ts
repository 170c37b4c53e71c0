import { ADDRCONFIG } from 'node:dns'
import { lookup } from 'node:dns/promises'
import type { Timers } from '../timers.ts'

/** Every address of a name, as text. Rejects when it does not resolve. */
export type Lookup = (host: string) => Promise<string[]>

/** As the system resolves it (`/etc/hosts`, search domains): A, and AAAA where the machine speaks IPv6. */
export const systemLookup: Lookup = async host => {
  const found = await lookup(host, { all: true, hints: ADDRCONFIG })
  return found.map(({ address }) => address)
}

export interface HostResolverOptions {
  readonly host: string
  readonly lookup: Lookup
  /** Called when the addresses are others than before; sorted, without doubles, never empty. */
  readonly onAddresses: (addresses: readonly string[]) => void
  readonly onError: (error: unknown) => void
  readonly timers: Timers
  readonly clock: () => number
}

const interval = 30_000
/** Failed connections ask at most this often. */
const pause = 1000

/**
 * Keeps the addresses of one name: asks at once, every 30 seconds, and when a connection fails. A failure changes
 * nothing: the addresses that were known last stay.
 */
export class HostResolver {
  readonly #options: HostResolverOptions
  #addresses: readonly string[] = []
  #timer: unknown
  #running: Promise<void> | null = null
  #last = 0
  #isClosed = false

  constructor(options: HostResolverOptions) {
    this.#options = options
    void this.#run()
  }

  /** A connection failed: perhaps the service has moved. Does nothing when a lookup is under way or has just ended. */
  suspect(): void {
    if (this.#running === null && this.#options.clock() - this.#last >= pause) void this.#run()
  }

  close(): void {
    this.#isClosed = true
    this.#options.timers.clearTimeout(this.#timer)
  }

  /** Never rejects. */
  #run(): Promise<void> {
    this.#options.timers.clearTimeout(this.#timer)
    this.#running = this.#resolve().finally(() => {
      this.#running = null
      this.#last = this.#options.clock()
      if (!this.#isClosed) this.#timer = this.#options.timers.setTimeout(() => void this.#run(), interval)
    })
    return this.#running
  }

  async #resolve(): Promise<void> {
    const { host, lookup, onAddresses, onError } = this.#options
    try {
      const addresses = [...new Set(await lookup(host))].sort()
      if (this.#isClosed || addresses.length === 0) return
      if (addresses.join() === this.#addresses.join()) return
      this.#addresses = addresses
      onAddresses(addresses)
    } catch (error) {
      if (!this.#isClosed) onError(error)
    }
  }
}
