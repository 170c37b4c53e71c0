import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { Client, credentials as channel, Metadata, status } from '@grpc/grpc-js'
import type { Credentials } from '../credentials.ts'
import { freePort, startInstance } from '../instance.ts'
import { type GrpcPeer, method, service } from './peer.ts'

const message = Buffer.from('sallyport '.repeat(7).slice(0, 64))

/** The grpc-status of one real call; 0 with another message than the one that was sent counts as -1. */
export function call(client: Client, token: string | null): Promise<number> {
  const metadata = new Metadata()
  if (token !== null) metadata.set('authorization', `Bearer ${token}`)
  const same = (bytes: Buffer) => bytes
  return new Promise(resolve => {
    client.makeUnaryRequest(
      `/${service}/${method}`,
      same,
      same,
      message,
      metadata,
      { deadline: Date.now() + 5000 },
      (error, answer) => {
        if (error !== null) resolve(error.code)
        else resolve(answer?.equals(message) ? status.OK : -1)
      }
    )
  })
}

/** Throws unless a real client's call through this port is answered OK with its message. */
export async function expectCall(port: number, token: string | null, who: string): Promise<void> {
  await withClient(port, async client => {
    const code = await call(client, token)
    if (code !== status.OK) throw new Error(`${who} answered ${nameOf(code)}`)
  })
}

const tinyLimit = 5

/** Starts the full chain with a tiny limit and throws unless it refuses what it should, and nothing else. */
export async function verifyFullChain(
  peer: GrpcPeer,
  world: { folder: string; upstreamPort: number; credentials: Credentials }
): Promise<void> {
  const { credentials } = world
  const folder = join(world.folder, `verify-${peer.name}`)
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const instance = await startInstance(
    peer.prepare({ ...world, folder, port, limit: tinyLimit }),
    'gateway',
    port,
    folder
  )
  const good = await credentials.sign('somebody')
  const past = Math.floor(Date.now() / 1000) - 3600
  const rows: [string, string | null, number][] = [
    ['a good token', good, status.OK],
    ['no token', null, status.UNAUTHENTICATED],
    ['an expired token', await credentials.sign('somebody', { exp: past }), status.UNAUTHENTICATED],
    ['another audience', await credentials.sign('somebody', { aud: 'other' }), status.UNAUTHENTICATED],
    ['no scope', await credentials.sign('somebody', { scope: 'other' }), status.PERMISSION_DENIED]
  ]
  for (let i = 1; i < tinyLimit; i++) rows.push(['a good token', good, status.OK])
  rows.push(['a subject over its limit', good, status.RESOURCE_EXHAUSTED])
  rows.push(['another subject', await credentials.sign('another'), status.OK])
  try {
    await withClient(port, async client => {
      for (const [what, token, expected] of rows) {
        const code = await call(client, token)
        if (code !== expected)
          throw new Error(`${peer.title}: ${what} got ${nameOf(code)}, not ${nameOf(expected)}`)
      }
    })
  } finally {
    await instance.stop()
  }
}

async function withClient(port: number, use: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client(`127.0.0.1:${port}`, channel.createInsecure())
  try {
    await use(client)
  } finally {
    client.close()
  }
}

function nameOf(code: number): string {
  return code === -1 ? 'OK with another message' : (status[code] ?? String(code))
}
