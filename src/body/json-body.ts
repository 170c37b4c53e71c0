import { isUtf8 } from 'node:buffer'
import type { IncomingMessage } from 'node:http'
import { type Reason, Refusal, type RefusalOptions } from '../errors.ts'
import type { Exchange } from '../exchange.ts'
import { ambiguityOf } from '../json/ambiguity.ts'
import { countValues } from '../json/count-values.ts'
import { parseStrict } from '../json/strict-json.ts'
import type { JsonBody } from '../plugin/define.ts'
import { announcesTooMuch, hasBody } from '../proxy/body.ts'
import { isJsonType } from './content-type.ts'
import { HeldBody, type Reading } from './held-body.ts'
import { isWithheld } from './withheld.ts'

/** Largest body that anybody may ask to have read. */
export const maxReadable = 1_048_576
/** Most values in a body: an expression that walks through them holds up everybody else. */
const maxValues = 10_000

function fault(reason: Reason, options: RefusalOptions): JsonBody {
  return Object.freeze({
    value: undefined,
    fault: Object.freeze({ reason, options: Object.freeze(options) })
  })
}

const absent: JsonBody = Object.freeze({ value: undefined, fault: null })
const elsewhere = fault('policy.error', { detail: 'it depends on the body, which is not here' })
const otherType = fault('protocol.content_type', { detail: 'the body is not said to be JSON in UTF-8' })
const encoded = fault('protocol.content_type', { detail: 'the body is encoded' })
const tooLarge = fault('protocol.size', { detail: 'the body is larger than is read' })
const tooMany = fault('protocol.size', { detail: `the body has more than ${maxValues} values` })
const notUtf8 = fault('request.malformed', { detail: 'the body is not UTF-8' })

const faults: Readonly<Record<Exclude<Reading, 'whole' | 'gone'>, JsonBody>> = Object.freeze({
  longer: tooLarge,
  late: fault('request.malformed', { status: 408, detail: 'the body took too long' }),
  crowded: fault('gateway.overloaded', { detail: 'too many bodies are held' })
})

/**
 * What `request.gateway.readJson` gives. What does not depend on the body's bytes is judged before they are asked for: who waits
 * for `100 Continue` need not send them.
 */
export async function readJson(exchange: Exchange, maxSize: number): Promise<JsonBody> {
  const { request } = exchange
  if (exchange.protocol !== 'http' || exchange.route === null)
    throw new Error('only requests of routes with protocol: http have a body that can be read')
  if (!(maxSize > 0 && maxSize <= maxReadable)) throw new RangeError('maxSize is from 1 to 1048576 bytes')
  // Whoever asks for another request has not said whether that one has a body.
  if (exchange.isQuestion) return elsewhere
  if (!hasBody(request)) return absent
  const foreign = judgeFields(request)
  if (foreign !== null) return foreign
  const most = Math.min(maxSize, exchange.maxBody)
  if (announcesTooMuch(request, most)) return tooLarge
  if (isWithheld(request)) return elsewhere
  exchange.held ??= new HeldBody(exchange, exchange.route.bodyTimeout)
  const reading = await exchange.held.read(most)
  if (reading === 'gone') throw new Refusal('client.aborted', { detail: 'before its body was here' })
  if (reading !== 'whole') return faults[reading]
  exchange.json ??= judgeJson(exchange.held.bytes)
  return exchange.json
}

function judgeFields({ headers }: IncomingMessage): JsonBody | null {
  if (headers['content-encoding'] !== undefined) return encoded
  return isJsonType(headers['content-type']) ? null : otherType
}

/** What the bytes of a body say. */
export function judgeJson(bytes: Buffer): JsonBody {
  if (bytes.length === 0) return absent
  if (!isUtf8(bytes)) return notUtf8
  const text = bytes.toString('utf8')
  const parsed = parseStrict(text)
  if (parsed.fault !== null) return fault('request.malformed', { detail: `the body: ${parsed.fault}` })
  const { value } = parsed
  // Each of them takes two characters, with what stands between them.
  if (text.length > 2 * maxValues && countValues(value) > maxValues) return tooMany
  const ambiguity = ambiguityOf(text, value)
  if (ambiguity !== null) return fault('request.malformed', { detail: `the body: ${ambiguity}` })
  return { value, fault: null }
}
