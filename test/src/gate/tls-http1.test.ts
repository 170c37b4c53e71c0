import t from 'tap'
import { authority } from '../../fixtures/certificates.ts'
import { type JudgingServerMaker, unboundJudgingServer } from '../../fixtures/judging-server.ts'
import { type RawClientMaker, rawClientOn } from '../../fixtures/raw.ts'
import { credentialsOf, FakeSource, tlsClient, tlsServer } from '../../fixtures/tls-server.ts'
import { connectionCases } from './connection-cases.ts'

const ca = await authority(t)
const leaf = await ca.leaf({ names: ['DNS:a.test'] })

for (const version of ['TLSv1.3', 'TLSv1.2'] as const) {
  t.test(`HTTP/1 over ${version}`, async t => {
    const judgingServer: JudgingServerMaker = async (t, options = {}, handler, onUpgrade) => {
      const { server, passed, refused } = unboundJudgingServer(options, handler, onUpgrade)
      server.emit('listening')
      const front = await tlsServer(
        t,
        new FakeSource(credentialsOf([leaf])),
        { http1: socket => server.emit('connection', socket) },
        { maxConnections: options.maxConnections ?? 1000, onRefused: each => refused.push(each) }
      )
      t.teardown(() => server.close())
      return { server, port: front.port, passed, refused }
    }
    const rawClient: RawClientMaker = (t, port, isHead) => {
      const { socket, carrier } = tlsClient(t, port, {
        ca: ca.cert,
        minVersion: version,
        maxVersion: version
      })
      return rawClientOn(t, socket, isHead, carrier)
    }
    connectionCases(t, { judgingServer, rawClient })
  })
}
