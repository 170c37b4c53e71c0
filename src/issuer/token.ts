import { isUtf8 } from 'node:buffer'
import { type JsonObject, parseStrictObject } from '../json/strict-json.ts'
import { refuseToken } from './challenge.ts'

/** Longest token that is looked at, in characters. Checked before anything else, a longer one costs nothing. */
export const maxTokenLength = 16 * 1024

export interface ParsedToken {
  readonly header: JsonObject
  /** Not verified: for choosing the issuer and the key, and for naming the reason of a refusal. */
  readonly payload: JsonObject
}

/**
 * Takes a compact JWS apart, strictly (RFC 7515 sections 3.1, 5.2): three segments of canonical base64url, header and
 * payload JSON objects in UTF-8 without doubled names. Throws a `Refusal` (`token.invalid`) otherwise.
 */
export function parseToken(token: string): ParsedToken {
  if (token.length > maxTokenLength) throw refuseToken('token.invalid', 'longer than 16 KiB')
  const first = token.indexOf('.')
  const second = token.indexOf('.', first + 1)
  // Five segments are a JWE (RFC 7516): the gateway holds no key to open one.
  if (first < 1 || second < 0 || token.indexOf('.', second + 1) >= 0) {
    throw refuseToken('token.invalid', 'not a JWS of three segments')
  }
  decode(token.slice(second + 1), 'signature')
  return {
    header: parseSegment(token.slice(0, first), 'header'),
    payload: parseSegment(token.slice(first + 1, second), 'payload')
  }
}

function parseSegment(segment: string, name: string): JsonObject {
  const bytes = decode(segment, name)
  if (!isUtf8(bytes)) throw refuseToken('token.invalid', `${name} is not UTF-8`)
  const value = parseStrictObject(bytes.toString('utf8'))
  if (value === undefined)
    throw refuseToken('token.invalid', `${name} is not a JSON object without doubled names`)
  return value
}

/**
 * Node skips what is not base64url and drops the bits that do not fill a byte, so that several spellings would be one
 * token. Encoding again shows every one of them: padding, foreign characters, trailing bits.
 */
function decode(segment: string, name: string): Buffer {
  const bytes = Buffer.from(segment, 'base64url')
  if (bytes.length === 0 || bytes.toString('base64url') !== segment) {
    throw refuseToken('token.invalid', `${name} is empty or not canonical base64url`)
  }
  return bytes
}
