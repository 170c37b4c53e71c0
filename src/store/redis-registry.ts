import { hash } from 'node:crypto'
import type { Logger } from '../log.ts'
import { RedisClient } from './redis-client.ts'

/** The connections of the process, one for each URL: they outlive generations, so that a reload neither waits nor starts over. */
export class RedisRegistry {
  readonly #log: Logger
  readonly #clients = new Map<string, RedisClient>()

  constructor(log: Logger) {
    this.#log = log
  }

  /** The connection to this URL. A Redis that is down is no reason to wait or to fail: it is asked for again and again. */
  async get(url: string): Promise<RedisClient> {
    const key = hash('sha256', url)
    let client = this.#clients.get(key)
    if (client === undefined) {
      client = new RedisClient(url, this.#log)
      this.#clients.set(key, client)
    }
    // So that the first requests after a start are counted together with those of the other replicas.
    await client.settled()
    return client
  }

  /** Closes the others. */
  async retain(used: ReadonlySet<RedisClient>): Promise<void> {
    for (const [key, client] of this.#clients) {
      if (used.has(client)) continue
      this.#clients.delete(key)
      await client.close()
    }
  }

  close(): Promise<void> {
    return this.retain(new Set())
  }
}
