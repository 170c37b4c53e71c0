import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ClientOptions } from 'ws'
import { Refusal } from '../../errors.ts'
import type { Endpoint } from '../endpoint.ts'
import { reasonOf } from '../failures.ts'
import { PeerSocket } from './peer-socket.ts'
import { clientOptions, partLimits, payloadLimit } from './ws.ts'

export interface DialRequest {
  readonly endpoint: Endpoint
  /** Path and query, as they go on the wire. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | string[]>>
  /** Subprotocols that the client offers. */
  readonly offers: readonly string[]
  /** Bytes. */
  readonly maxMessage: number
  /** Milliseconds from the connection to the answer. */
  readonly responseTimeout: number
}

/** How a dial ends: exactly one of these is called, unless it is cancelled. */
export interface DialEnd {
  /** The upstream has accepted. `socket` reads nothing before the current tick is over. */
  opened(opened: OpenedUpstream): void
  /** The upstream has answered with something else than 101. */
  refused(answer: UpstreamAnswer): void
  /** @param isConnectFailure nothing was sent */
  failed(refusal: Refusal, isConnectFailure: boolean): void
}

export interface OpenedUpstream {
  readonly webSocket: PeerSocket
  readonly socket: Duplex
  readonly rawHeaders: readonly string[]
  /** The upstream's choice; null: none. */
  readonly subprotocol: string | null
}

export interface UpstreamAnswer {
  readonly status: number
  readonly rawHeaders: readonly string[]
  /** Null: it is longer than is copied. */
  readonly body: Buffer | null
}

/** Bytes of a refusal's body that are copied. */
const maxRefusalBody = 65_536

/** More interim answers (1xx) than this before the final one is a flood. */
const maxInterim = 16

type Oncreate = (error: Error | null, socket?: Duplex) => void

/** One try to open a WebSocket at an endpoint, over the endpoint's own way of connecting. */
export class Dial {
  readonly #request: DialRequest
  readonly #end: DialEnd
  readonly #webSocket: PeerSocket
  #socket: Socket | null = null
  #timer: NodeJS.Timeout | undefined
  #answer: IncomingMessage | null = null
  #subprotocol: string | null = null
  #interim = 0
  #isOver = false

  constructor(request: DialRequest, end: DialEnd) {
    this.#request = request
    this.#end = end
    const { endpoint, headers, offers, maxMessage } = request
    // Offered by hand: ws would refuse an upstream that chooses none, which RFC 6455 allows.
    const offer = offers.length === 0 ? headers : { ...headers, 'sec-websocket-protocol': offers.join(', ') }
    this.#webSocket = new PeerSocket(endpoint.origin, [], {
      ...clientOptions,
      maxPayload: payloadLimit(maxMessage),
      ...partLimits(maxMessage),
      headers: offer as Record<string, string>,
      createConnection: ((_options: unknown, oncreate: Oncreate) =>
        this.#connect(oncreate)) as unknown as ClientOptions['createConnection'],
      finishRequest: request => this.#send(request)
    })
    this.#webSocket.on('upgrade', answer => this.#judge(answer))
    this.#webSocket.on('open', () => this.#open())
    this.#webSocket.on('unexpected-response', (_request, answer) => this.#read(answer))
    this.#webSocket.on('error', error => this.#error(error))
  }

  cancel(): void {
    if (this.#isOver) return
    this.#leave()
    this.#drop()
  }

  #connect(oncreate: Oncreate): void {
    this.#request.endpoint.connect((error, socket) => {
      if (socket !== null && this.#isOver) {
        socket.destroy()
        return
      }
      if (socket === null) {
        oncreate(error)
        return
      }
      this.#socket = socket
      const timeout = new Refusal('upstream.timeout', { detail: 'no answer to the handshake' })
      this.#timer = setTimeout(() => this.#fail(timeout), this.#request.responseTimeout)
      oncreate(null, socket)
    })
  }

  #send(request: ClientRequest): void {
    // ws would give the path to a URL parser, which changes it.
    request.path = this.#request.path
    request.on('information', () => {
      if (++this.#interim > maxInterim)
        this.#fail(new Refusal('upstream.protocol', { detail: 'flood of 1xx' }))
    })
    request.end()
  }

  /** Before ws judges the rest of it: extensions that nobody asked for, the proof that it has read the key. */
  #judge(answer: IncomingMessage): void {
    this.#answer = answer
    if (answer.statusCode !== 101) {
      this.#fail(new Refusal('upstream.protocol', { detail: 'upgrade without a 101' }))
      return
    }
    const choice = answer.headers['sec-websocket-protocol']
    if (choice === undefined) return
    if (!this.#request.offers.includes(choice)) {
      this.#fail(new Refusal('upstream.protocol', { detail: 'a subprotocol that was not offered' }))
      return
    }
    this.#subprotocol = choice
    delete answer.headers['sec-websocket-protocol']
  }

  #open(): void {
    if (this.#isOver) return
    this.#leave()
    this.#end.opened({
      webSocket: this.#webSocket,
      socket: this.#socket as Socket,
      rawHeaders: (this.#answer as IncomingMessage).rawHeaders,
      subprotocol: this.#subprotocol
    })
  }

  #read(answer: IncomingMessage): void {
    const chunks: Buffer[] = []
    let size = 0
    answer.on('error', error => this.#error(error))
    answer.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size > maxRefusalBody) this.#copy(answer, null)
      else chunks.push(chunk)
    })
    answer.on('end', () => this.#copy(answer, Buffer.concat(chunks)))
  }

  #copy(answer: IncomingMessage, body: Buffer | null): void {
    if (this.#isOver) return
    this.#leave()
    this.#end.refused({ status: answer.statusCode as number, rawHeaders: answer.rawHeaders, body })
    this.#drop()
  }

  #error(cause: Error): void {
    if (this.#isOver) return
    // What ws has against an answer has no code of its own.
    const reason = this.#answer === null ? reasonOf(cause) : 'upstream.protocol'
    const code = (cause as { code?: unknown }).code
    const detail = typeof code === 'string' ? code : cause.message
    this.#fail(new Refusal(reason, { cause, detail }))
  }

  #fail(refusal: Refusal): void {
    if (this.#isOver) return
    this.#leave()
    this.#drop()
    this.#end.failed(refusal, this.#socket === null)
  }

  #leave(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
  }

  #drop(): void {
    this.#webSocket.terminate()
    this.#socket?.destroy()
  }
}
