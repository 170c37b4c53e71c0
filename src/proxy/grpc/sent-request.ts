import type { UpstreamSide } from './upstream-side.ts'

/** Bytes of a request that are kept at most. */
const maxKept = 65_536

/** What has been sent of a request, for another try: until the upstream begins to answer, and no more of it than is worth keeping. */
export class SentRequest {
  /** The client has sent all of it. */
  hasEnded = false
  #chunks: Buffer[] | null = []
  #bytes = 0

  /** Whether it can be sent again. */
  get isWhole(): boolean {
    return this.#chunks !== null
  }

  keep(chunk: Buffer): void {
    if (this.#chunks === null) return
    this.#bytes += chunk.length
    if (this.#bytes > maxKept) this.#chunks = null
    else this.#chunks.push(chunk)
  }

  /** There will be no other try. */
  drop(): void {
    this.#chunks = null
  }

  replay(up: UpstreamSide): void {
    for (const chunk of this.#chunks ?? []) up.write(chunk)
    if (this.hasEnded) up.end()
  }
}
