import t from 'tap'
import { judgeParserError } from '../../../src/gate/parser-error.ts'

const failed = (code: string | undefined, packet?: string): Error & { code?: string; rawPacket?: Buffer } =>
  Object.assign(new Error('failed'), {
    code,
    rawPacket: packet === undefined ? undefined : Buffer.from(packet)
  })

t.test('errors of the parser are the client’s, each with its status', async t => {
  t.equal(judgeParserError(failed('HPE_INVALID_METHOD'))?.status, 400)
  t.equal(judgeParserError(failed('HPE_CHUNK_EXTENSIONS_OVERFLOW'))?.status, 400)
  t.equal(judgeParserError(failed('ERR_HTTP_REQUEST_TIMEOUT'))?.status, 408)
  t.equal(judgeParserError(failed('HPE_HEADER_OVERFLOW'))?.status, 431)
  t.equal(judgeParserError(failed('HPE_HEADER_OVERFLOW', 'GET / HTTP/1.1\r\na: b'))?.status, 431)
  t.equal(judgeParserError(failed('HPE_HEADER_OVERFLOW', 'xxx yyy'))?.status, 431)
  t.equal(judgeParserError(failed('HPE_HEADER_OVERFLOW', 'get /a'))?.status, 431)
  t.equal(judgeParserError(failed('HPE_HEADER_OVERFLOW', 'GET /aaaaaaaa'))?.status, 414)
})

t.test('nobody is answered when nobody is there', async t => {
  for (const code of ['ECONNRESET', 'EPIPE', 'HPE_INVALID_EOF_STATE', 'HPE_CLOSED_CONNECTION', undefined]) {
    t.equal(judgeParserError(failed(code)), null, String(code))
  }
})
