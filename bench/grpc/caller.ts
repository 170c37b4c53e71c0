import { type CallOptions, type Client, Metadata, status } from '@grpc/grpc-js'
import { type EchoServer, expanded, stayHeader } from './echo-server.ts'
import { service } from './peer.ts'

/** The four kinds of call, by the method that has each. */
export const kinds = ['Say', 'Collect', 'Expand', 'Chat'] as const
export type Kind = (typeof kinds)[number]

const message = Buffer.alloc(64, 'x')
/** Messages of a client that streams. */
const sentByStream = 3
const same = (bytes: Buffer) => bytes
const options = (): CallOptions => ({ deadline: Date.now() + 30_000 })

interface Ending {
  readonly code: number
  readonly messages: readonly Buffer[]
}

/** Makes one whole call. Null, or what was wrong with its answer. */
export async function complete(client: Client, kind: Kind): Promise<string | null> {
  const { code, messages } = await start(client, kind, new Metadata(), true).ended
  const expected = { Say: 1, Collect: 1, Expand: expanded, Chat: sentByStream }[kind]
  if (code !== status.OK) return `${kind}: ${status[code]}`
  const isGood = messages.length === expected && messages.every(each => each.equals(message))
  return isGood ? null : `${kind}: ${messages.length} messages`
}

/** Makes a call that is never answered in full and cancels it once it has come to the upstream, and an answer to here. */
export async function cancelMidway(
  client: Client,
  kind: Kind,
  number: string,
  upstream: EchoServer
): Promise<string | null> {
  const metadata = new Metadata()
  metadata.set(stayHeader, number)
  const arrived = upstream.arrival(number)
  const call = start(client, kind, metadata, false)
  const isStream = kind === 'Expand' || kind === 'Chat'
  const midway = isStream ? Promise.all([arrived, call.answered]) : arrived
  const early = await Promise.race([midway.then(() => null), call.ended])
  if (early !== null) return `${kind}, to be cancelled: ${status[early.code]}`
  call.cancel()
  const { code } = await call.ended
  return code === status.CANCELLED ? null : `${kind}, cancelled: ${status[code]}`
}

interface Started {
  /** The first message of the answer. */
  readonly answered: Promise<void>
  readonly ended: Promise<Ending>
  cancel(): void
}

/** Starts a call with its messages; the client's side is ended where `isWhole`. */
function start(client: Client, kind: Kind, metadata: Metadata, isWhole: boolean): Started {
  const path = `/${service}/${kind}`
  const messages: Buffer[] = []
  const answered = Promise.withResolvers<void>()
  const ended = Promise.withResolvers<Ending>()
  const take = (one: Buffer) => {
    messages.push(one)
    answered.resolve()
  }
  const settle = (error: { code: number } | null, answer?: Buffer) => {
    if (answer !== undefined) take(answer)
    ended.resolve({ code: error?.code ?? status.OK, messages })
  }
  const started = { answered: answered.promise, ended: ended.promise }
  if (kind === 'Say') {
    const call = client.makeUnaryRequest(path, same, same, message, metadata, options(), settle)
    return { ...started, cancel: () => call.cancel() }
  }
  if (kind === 'Collect') {
    const call = client.makeClientStreamRequest(path, same, same, metadata, options(), settle)
    send(call, isWhole)
    return { ...started, cancel: () => call.cancel() }
  }
  const call = startStreaming(client, kind, metadata, isWhole)
  call.on('data', take)
  // The status tells it as well.
  call.on('error', () => {})
  call.on('status', settled => settle(settled.code === status.OK ? null : settled))
  return { ...started, cancel: () => call.cancel() }
}

function startStreaming(client: Client, kind: 'Expand' | 'Chat', metadata: Metadata, isWhole: boolean) {
  const path = `/${service}/${kind}`
  if (kind === 'Expand') {
    return client.makeServerStreamRequest(path, same, same, message, metadata, options())
  }
  const call = client.makeBidiStreamRequest(path, same, same, metadata, options())
  send(call, isWhole)
  return call
}

function send(call: { write(message: Buffer): unknown; end(): void }, isWhole: boolean): void {
  for (let i = 0; i < (isWhole ? sentByStream : 1); i++) call.write(message)
  if (isWhole) call.end()
}
