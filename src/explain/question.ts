import { isIP } from 'node:net'
import type { Protocol } from '../outcome.ts'

/** A request that somebody asks about. It is judged as if a client had sent it just so. */
export interface Question {
  readonly method: string
  /** Path and query, as a client would write them. */
  readonly target: string
  /** `Host` (`:authority` of a gRPC call). Default: what `headers` say, or `localhost`. */
  readonly host?: string | undefined
  /** In their order; one name may come several times. */
  readonly headers?: readonly (readonly [name: string, value: string])[] | undefined
  /** An access token, sent as `Authorization: Bearer …`. */
  readonly token?: string | undefined
  /** Address that the connection comes from. Default `127.0.0.1`. */
  readonly clientIp?: string | undefined
  /** What follows the head, of `protocol: http`. Left out: nothing does, whatever the head announces. */
  readonly body?: Buffer | undefined
  /** How it is sent: `http` over HTTP/1.1, `grpc` over HTTP/2, `websocket` as a handshake. Default `http`. */
  readonly protocol?: Protocol | undefined
}

export type Field = readonly [name: string, value: string]

/** What a handshake has to say (RFC 6455, 4.1); the key is any sixteen bytes. */
const handshake: readonly Field[] = [
  ['connection', 'Upgrade'],
  ['upgrade', 'websocket'],
  ['sec-websocket-version', '13'],
  ['sec-websocket-key', 'c2FsbHlwb3J0IGV4cGxhaQ==']
]

const call: readonly Field[] = [
  ['content-type', 'application/grpc'],
  ['te', 'trailers']
]

const framing = new Set(['content-length', 'transfer-encoding'])

/** The fields of the request but for its host: those that are given, and what its protocol cannot be without. */
export function fieldsOf({ headers = [], token, body, protocol = 'http' }: Question): readonly Field[] {
  const given = headers.filter(([name]) => name.toLowerCase() !== 'host')
  const names = new Set(given.map(([name]) => name.toLowerCase()))
  const needed = protocol === 'websocket' ? handshake : protocol === 'grpc' ? call : []
  const credential: readonly Field[] = token === undefined ? [] : [['authorization', `Bearer ${token}`]]
  const length: readonly Field[] = body === undefined ? [] : [['content-length', String(body.length)]]
  return [...needed.filter(([name]) => !names.has(name)), ...given, ...credential, ...length]
}

export function hostOf({ host, headers = [] }: Question): string {
  return host ?? headers.find(([name]) => name.toLowerCase() === 'host')?.[1] ?? 'localhost'
}

/** The head of the request in HTTP/1.1. Lines cannot be smuggled in: whoever asks has been refused those. */
export function headOf(question: Question): string {
  const lines = [`${question.method} ${question.target} HTTP/1.1`, `Host: ${hostOf(question)}`]
  for (const [name, value] of fieldsOf(question)) lines.push(`${name}: ${value}`)
  return `${lines.join('\r\n')}\r\n\r\n`
}

/**
 * What is wrong with a question; null when it can be put. Only what would make it another request than it looks like is refused:
 * whether it is a good one is for the gateway to say.
 */
export function faultOf(question: Question): string | null {
  const { method, target, clientIp, headers = [], body, protocol = 'http' } = question
  const texts = [method, target, hostOf(question), ...fieldsOf(question).flat()]
  if (texts.some(text => /[\r\n\0]/.test(text))) return 'a line break in the request'
  if (body !== undefined && protocol !== 'http') return 'only a request of protocol http has a body here'
  if (body !== undefined && headers.some(([name]) => framing.has(name.toLowerCase())))
    return 'the body says how long it is: leave content-length and transfer-encoding out'
  if (method === '' || target === '') return 'the method or the target is empty'
  if (clientIp !== undefined && isIP(clientIp) === 0) return 'the client address is no IP address'
  return null
}

/** A header as curl takes it, `name: value`; null where it is none. */
export function headerOf(line: string): Field | null {
  const colon = line.indexOf(':')
  return colon < 1 ? null : [line.slice(0, colon), line.slice(colon + 1).trim()]
}
