import type { FastifyInstance } from 'fastify'
import { Refusal } from '../src/errors.ts'
import type { Generation } from '../src/generation.ts'
import { isLocalCaller } from '../src/local-caller.ts'
import { claimsOf } from '../src/session/claims.ts'
import type { SessionList, SessionRecord } from '../src/session/contract.ts'
import { isHandle } from '../src/session/handle.ts'
import type { Sessions } from '../src/session/sessions.ts'

export interface AdminSessionsOptions {
  current: () => Pick<Generation, 'sessions'>
}

const defaultLimit = 100
const maxLimit = 1000

/** What is wrong with a request, and what it is answered. */
class Fault extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.status = status
  }
}

/**
 * `/sessions`: who is signed in, and the end of it. The one thing of the admin listener that changes something, and so for callers on
 * this machine alone; to everybody else it is a path like any other that does not exist. docs/adr/0017-sessions-on-the-admin-listener.md.
 */
export async function adminSessionRoutes(app: FastifyInstance, options: AdminSessionsOptions): Promise<void> {
  app.addHook('onRequest', function localOnly(request, reply, done) {
    if (!isLocalCaller(request.raw)) {
      reply.callNotFound()
      return
    }
    reply.header('cache-control', 'no-store')
    done()
  })

  app.setErrorHandler(function saySo(error: Error & { statusCode?: number }, _request, reply) {
    if (error instanceof Fault) return reply.code(error.status).send({ error: error.message })
    if (error instanceof Refusal)
      return reply.code(error.status).send({ error: 'the store of sessions does not answer' })
    const isClients = error.statusCode !== undefined && error.statusCode < 500
    if (isClients) return reply.code(error.statusCode as number).send({ error: 'bad request' })
    return reply.code(500).send({ error: 'internal error' })
  })

  function sessionsInForce(): Sessions {
    const { sessions } = options.current()
    if (sessions === null) throw new Fault(404, 'nobody signs in here: the configuration has no `session`')
    return sessions
  }

  app.get('/sessions', async function listSessions(request) {
    const sessions = sessionsInForce()
    const { issuer, subject, limit } = fieldsOf(request.query, ['issuer', 'subject', 'limit'])
    const { store } = sessions.options
    return describe(
      sessions,
      await store.list({
        limit: limitOf(limit),
        issuer: issuer === undefined ? undefined : issuerUrl(sessions, issuer),
        subject
      })
    )
  })

  app.delete('/sessions', async function endSessionsOfPerson(request) {
    const sessions = sessionsInForce()
    const { issuer, subject } = fieldsOf(request.query, ['issuer', 'subject'])
    if (issuer === undefined || subject === undefined)
      throw new Fault(400, 'say whose sessions: ?issuer=NAME&subject=SUBJECT')
    const ended = await sessions.options.store.destroyOf({ issuer: issuerUrl(sessions, issuer), subject })
    sessions.log.info({ issuer, subject, ended }, 'the sessions of a person were ended by an admin')
    return { ended }
  })

  // Not `:handle`: the router answers a parameter that is too long by itself, and to everybody.
  app.delete<{ Params: { '*': string } }>('/sessions/*', async function endSession(request, reply) {
    const sessions = sessionsInForce()
    const handle = request.params['*']
    const record = isHandle(handle) ? await sessions.options.store.end(handle) : null
    if (record === null) throw new Fault(404, 'there is no such session')
    const { issuerName, subject, host } = record
    sessions.log.info({ issuer: issuerName, subject, host, handle }, 'a session was ended by an admin')
    return reply.code(204).send()
  })
}

/** Never the id, tokens or other claims: whoever reads this may not become who it is about. */
function describe(sessions: Sessions, { sessions: listed, isCut }: SessionList): object {
  const now = Date.now()
  const alive = listed.filter(({ record }) => now < sessions.endOf(record))
  return {
    sessions: alive.map(({ handle, record }) => ({
      handle,
      issuer: record.issuerName,
      subject: record.subject,
      email: emailOf(record),
      host: record.host,
      createdAt: dateOf(record.createdAt),
      endsAt: dateOf(sessions.endOf(record)),
      idle: record.idle,
      refreshAt: record.refreshToken === null ? null : dateOf(record.refreshAt)
    })),
    cut: isCut
  }
}

function emailOf(record: SessionRecord): string | null {
  const { email } = claimsOf(record)
  return typeof email === 'string' ? email : null
}

/** Null for a time that no calendar has: the issuer has not said when. */
function dateOf(time: number): string | null {
  const date = new Date(time)
  return Number.isNaN(date.getTime()) ? null : date.toISOString()
}

function fieldsOf<Name extends string>(
  query: unknown,
  known: readonly Name[]
): Partial<Record<Name, string>> {
  for (const [name, value] of Object.entries(query as Record<string, unknown>)) {
    if (!known.includes(name as Name))
      throw new Fault(400, `unknown: ${JSON.stringify(name)}; known: ${known.join(', ')}`)
    if (typeof value !== 'string' || value === '')
      throw new Fault(400, `${name} is wanted once, and not empty`)
  }
  return query as Partial<Record<Name, string>>
}

function limitOf(text: string | undefined): number {
  if (text === undefined) return defaultLimit
  const limit = Number(text)
  if (/^[0-9]{1,4}$/.test(text) && limit >= 1 && limit <= maxLimit) return limit
  throw new Fault(400, `limit is a number from 1 to ${maxLimit}`)
}

/** What sessions are known by is the issuer's own name for itself. */
function issuerUrl({ options: { issuers } }: Sessions, name: string): string {
  const issuer = issuers.get(name)
  if (issuer !== undefined) return issuer.client.settings.issuer
  throw new Fault(
    400,
    `nobody signs in with an issuer of that name; known: ${[...issuers.keys()].join(', ')}`
  )
}
