import type { FastifyReply } from 'fastify'
import type { Exchange } from '../../exchange.ts'
import { ReplyStream } from '../reply-stream.ts'
import type { RequestSink, RpcClient } from './client.ts'
import { byName, type HeaderList } from './metadata.ts'

/**
 * A client that speaks gRPC, on a route whose plugins want to see answers: they go through Fastify's reply, and `onSend` hooks may
 * wrap them. The response of the gate sends the trailers, and the head with the first message.
 */
export class ReplyClient implements RpcClient {
  readonly #exchange: Exchange
  readonly #reply: FastifyReply
  readonly #stream: ReplyStream
  #sink: RequestSink | null = null
  #hasMessages = false

  constructor(exchange: Exchange, reply: FastifyReply) {
    this.#exchange = exchange
    this.#reply = reply
    this.#stream = new ReplyStream(() => this.#sink?.drained())
  }

  read(sink: RequestSink): void {
    this.#sink = sink
    const { request } = this.#exchange
    request.on('data', (chunk: Buffer) => sink.takeRequest(chunk))
    request.on('end', () => sink.endRequest())
  }

  pause(): void {
    this.#exchange.request.pause()
  }

  resume(): void {
    this.#exchange.request.resume()
  }

  head(headers: HeaderList): void {
    const reply = this.#reply
    const own = reply.getHeaders()
    this.#exchange.ownHeaders = own
    // `headers` holds them too, merged with the upstream's.
    for (const name in own) reply.removeHeader(name)
    for (const [name, value] of Object.entries(byName(headers))) reply.header(name, value)
    reply.code(200).send(this.#stream)
  }

  only(headers: HeaderList): void {
    this.head(headers)
    this.#stream.push(null)
  }

  write(chunk: Buffer): boolean {
    this.#hasMessages = true
    return this.#stream.push(chunk)
  }

  end(trailers: HeaderList): void {
    const { response } = this.#exchange
    const fields = Object.entries(byName(trailers)) as [string, string][]
    for (const [name, value] of fields) {
      if (this.#hasMessages || response.headersSent) {
        response.addTrailers({ [name]: value })
        continue
      }
      // No message has come, so that the head is the end as well ("Trailers-Only"); Fastify may have read its own by now.
      this.#reply.header(name, value)
      response.setHeader(name, value)
    }
    this.#stream.push(null)
  }
}
