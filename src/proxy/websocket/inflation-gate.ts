import type WebSocket from 'ws'

type Done = (error: Error | null, inflated?: Buffer) => void

interface Inflater {
  decompress(data: Buffer, isLast: boolean, done: Done): void
}

/** Private to ws 8.23: test/src/proxy/websocket/pump.test.ts notices when it goes. */
interface WithExtensions {
  readonly _extensions: { readonly 'permessage-deflate'?: Inflater }
}

/**
 * Holds back compressed messages. Pausing a WebSocket stops its socket, but ws goes on with what it has read: 64 KiB of
 * compressed messages may be 64 MiB of them, and all would wait for a sink that takes nothing.
 */
export class InflationGate {
  #isOpen = true
  #waiting: (() => void) | null = null

  constructor(source: WebSocket) {
    const inflater = (source as unknown as WithExtensions)._extensions['permessage-deflate']
    if (inflater === undefined) return
    const decompress = inflater.decompress.bind(inflater)
    inflater.decompress = (data, isLast, done) => {
      decompress(data, isLast, (error, inflated) => this.#pass(() => done(error, inflated)))
    }
  }

  close(): void {
    this.#isOpen = false
  }

  open(): void {
    this.#isOpen = true
    const waiting = this.#waiting
    this.#waiting = null
    waiting?.()
  }

  /** ws inflates one frame at a time, so that one at most waits. */
  #pass(goOn: () => void): void {
    if (this.#isOpen) goOn()
    else this.#waiting = goOn
  }
}
