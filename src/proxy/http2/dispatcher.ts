import type { Readable } from 'node:stream'
import { Dispatcher } from 'undici'
import { Http2Call } from './call.ts'
import type { Http2Client } from './client.ts'
import { requestHeaders } from './request-headers.ts'

export interface Http2DispatcherOptions {
  /** Scheme, host and port. */
  readonly origin: string
  readonly client: Http2Client
  /** Milliseconds; for requests that do not say it themselves. */
  readonly headersTimeout: number
  readonly bodyTimeout: number
}

/**
 * HTTP/2 behind undici's interface, as far as the gateway uses it: a request with a list of headers and a stream, a Buffer or
 * nothing as its body, and handlers that are told of it by `onConnect`, `onHeaders`, `onData`, `onComplete` and `onError`.
 */
export class Http2Dispatcher extends Dispatcher {
  readonly #options: Http2DispatcherOptions
  readonly #scheme: string
  readonly #authority: string
  #isDestroyed = false

  constructor(options: Http2DispatcherOptions) {
    super()
    const { protocol, host } = new URL(options.origin)
    this.#options = options
    this.#scheme = protocol.slice(0, -1)
    this.#authority = host
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const { client, headersTimeout, bodyTimeout } = this.#options
    const target = {
      method: options.method,
      scheme: this.#scheme,
      authority: this.#authority,
      path: options.path
    }
    let headers: string[]
    try {
      headers = requestHeaders(target, (options.headers ?? []) as readonly string[])
    } catch (error) {
      handler.onError?.(error as Error)
      return true
    }
    new Http2Call({
      client,
      handler,
      headers,
      body: (options.body ?? null) as Readable | Buffer | null,
      headersTimeout: options.headersTimeout ?? headersTimeout,
      bodyTimeout: options.bodyTimeout ?? bodyTimeout
    }).start()
    return true
  }

  get destroyed(): boolean {
    return this.#isDestroyed
  }

  override close(): Promise<void>
  override close(callback: () => void): void
  override close(callback?: () => void): Promise<void> | undefined {
    return settle(this.#options.client.close(), callback)
  }

  override destroy(...args: unknown[]): Promise<void> {
    this.#isDestroyed = true
    const callback = args.find(one => typeof one === 'function') as (() => void) | undefined
    return settle(this.#options.client.destroy(), callback) as Promise<void>
  }
}

function settle(ended: Promise<void>, callback?: () => void): Promise<void> | undefined {
  if (callback === undefined) return ended
  void ended.then(callback)
  return undefined
}
