import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Credentials } from './credentials.ts'
import { freePort, startInstance } from './instance.ts'
import type { Chain, Peer } from './peers/peer.ts'
import { body, target } from './runtime.ts'

/** Answers of a port to one request: 200 with another body than the upstream's counts as 0. */
export async function ask(port: number, token: string | null): Promise<number> {
  const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
  const answer = await fetch(`http://127.0.0.1:${port}${target}`, { headers })
  const text = await answer.text()
  return answer.status === 200 && text !== body ? 0 : answer.status
}

/** Throws unless a few requests with these tokens are all answered 200 with the upstream's body. */
export async function expectGood(
  port: number,
  tokens: readonly (string | null)[],
  who: string
): Promise<void> {
  for (const token of tokens.slice(0, 20)) {
    const status = await ask(port, token)
    if (status !== 200) throw new Error(`${who} answered ${status || '200 with a wrong body'}`)
  }
}

const tinyLimit = 5

/**
 * Starts a chain of a peer with a tiny limit and throws unless it does what the others are measured doing: a bad token is
 * refused, a subject over its limit is refused, another subject is not.
 */
export async function verifyChain(
  peer: Peer,
  chain: Chain,
  setting: { folder: string; upstreamPort: number; credentials: Credentials }
): Promise<void> {
  if (chain === 'plain') return
  const { credentials } = setting
  const folder = join(setting.folder, `verify-${peer.name}-${chain}`)
  mkdirSync(folder, { recursive: true })
  const port = await freePort()
  const command = peer.prepare(chain, { ...setting, folder, port, limit: tinyLimit })
  const instance = await startInstance(command, 'gateway', port, folder)
  try {
    await expectTokensAreChecked(port, credentials)
    if (chain !== 'jwt') await expectSubjectsAreLimited(port, credentials)
  } catch (error) {
    throw new Error(`${peer.title}, ${chain}: ${(error as Error).message}`)
  } finally {
    await instance.stop()
  }
}

async function expectTokensAreChecked(port: number, credentials: Credentials): Promise<void> {
  const good = await credentials.sign('somebody')
  const past = Math.floor(Date.now() / 1000) - 3600
  // The last character of a signature of 256 bytes holds two bits that mean nothing: the first one is changed.
  const signatureAt = good.lastIndexOf('.') + 1
  const forged = `${good.slice(0, signatureAt)}${good[signatureAt] === 'A' ? 'B' : 'A'}${good.slice(signatureAt + 1)}`
  const bad: [string, string | null][] = [
    ['no token', null],
    ['a forged signature', forged],
    ['an expired token', await credentials.sign('somebody', { exp: past })],
    ['another issuer', await credentials.sign('somebody', { iss: 'http://other.example' })],
    ['another audience', await credentials.sign('somebody', { aud: 'other' })]
  ]
  if ((await ask(port, good)) !== 200) throw new Error('a good token is not let through')
  for (const [what, token] of bad) {
    const status = await ask(port, token)
    if (status !== 401 && status !== 403) throw new Error(`${what} is answered ${status}`)
  }
}

async function expectSubjectsAreLimited(port: number, credentials: Credentials): Promise<void> {
  const greedy = await credentials.sign('greedy')
  const modest = await credentials.sign('modest')
  const statuses: number[] = []
  for (let i = 0; i < tinyLimit * 3; i++) statuses.push(await ask(port, greedy))
  if (statuses[0] !== 200 || statuses.at(-1) !== 429) {
    throw new Error(`a limit of ${tinyLimit} is answered ${statuses.join(' ')}`)
  }
  if ((await ask(port, modest)) !== 200) throw new Error('the limit of one subject refuses another')
}
