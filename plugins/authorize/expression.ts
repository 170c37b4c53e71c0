import { Environment } from '@marcbachmann/cel-js'
import type { OptionProblem } from '../../src/plugin/define.ts'
import { findBody } from './body-paths.ts'
import { type Flaw, flawOf } from './flaws.ts'
import { askObjectsOnly } from './has.ts'
import { ClientView, IdentityView, type PolicyInput, RequestView, RouteView, RpcView } from './input.ts'
import { inCidr } from './networks.ts'

const environment = new Environment({
  limits: { maxAstNodes: 500, maxDepth: 32, maxListElements: 200, maxMapEntries: 50, maxCallArguments: 8 }
})
  .registerType('Request', {
    ctor: RequestView,
    fields: {
      method: 'string',
      path: 'string',
      host: 'string',
      headers: 'map<string, string>',
      query: 'string',
      body: 'dyn'
    }
  })
  .registerType('Identity', {
    ctor: IdentityView,
    fields: {
      kind: 'string',
      subject: 'string',
      issuer: 'string',
      email: 'string',
      scopes: 'list<string>',
      groups: 'list<string>',
      roles: 'list<string>',
      claims: 'map<string, dyn>'
    }
  })
  .registerType('Rpc', { ctor: RpcView, fields: { service: 'string', method: 'string' } })
  .registerType('Client', { ctor: ClientView, fields: { ip: 'string' } })
  .registerType('Route', { ctor: RouteView, fields: { name: 'string' } })
  .registerVariable('request', 'Request')
  .registerVariable('identity', 'Identity')
  .registerVariable('rpc', 'Rpc')
  .registerVariable('client', 'Client')
  .registerVariable('route', 'Route')
  .registerFunction('inCidr(string, string): bool', inCidr, { async: false })

export type Evaluate = (input: PolicyInput) => unknown
type Compiled = { evaluate: Evaluate; looksAtBody: boolean } | { flaw: Flaw | undefined }

/** What is wrong with an expression; null: nothing. `seesBody`: whether the body is read for it. */
export function problemWith(source: string, seesBody: boolean): OptionProblem | null {
  const compiled = compile(source, seesBody)
  if ('flaw' in compiled) return problemOf(source, compiled.flaw)
  return seesBody && !compiled.looksAtBody ? unusedBody : null
}

/** Throws where an expression cannot be evaluated. */
export function evaluatorOf(source: string, seesBody: boolean): Evaluate {
  const compiled = compile(source, seesBody)
  if ('evaluate' in compiled) return compiled.evaluate
  const { message, remedy } = problemOf(source, compiled.flaw)
  throw new Error(`${message}: ${remedy}`)
}

const unusedBody: OptionProblem = {
  path: ['body'],
  message: 'the expression does not look at request.body',
  remedy: 'remove body: it has every body read, and held'
}

const unreadBody: Flaw = {
  summary: 'request.body is not read here',
  remedy: 'add body: { maxSize: 16Ki } beside allow, or decide without it'
}

function compile(source: string, seesBody: boolean): Compiled {
  try {
    const evaluate = environment.parse(source)
    // Before the types are: `has(request.body)` would always be false, and of the right type.
    const body = findBody(evaluate.ast)
    if (body !== null && !seesBody) return { flaw: { ...unreadBody, range: body.range } }
    const { valid, type, error } = evaluate.check()
    if (!valid) return { flaw: error }
    const flaw = flawOf(evaluate.ast)
    if (flaw !== null) return { flaw }
    if (type === 'bool') {
      askObjectsOnly(evaluate.ast)
      return { evaluate, looksAtBody: body !== null }
    }
    const remedy = 'compare it with something, e.g. … == true'
    return { flaw: { summary: `the expression gives ${type}, not bool`, remedy } }
  } catch (error) {
    return { flaw: error as Flaw }
  }
}

function problemOf(source: string, flaw: Flaw | undefined): OptionProblem {
  const what = flaw?.summary ?? 'the expression cannot be read'
  const remedy =
    flaw?.remedy ?? 'correct the expression; request, identity, rpc, client and route are what it sees'
  if (flaw?.range === undefined) return { path: ['allow'], message: what, remedy }
  const lines = source.slice(0, flaw.range.start).split('\n')
  const message = `${what} (line ${lines.length}, column ${lines.at(-1)!.length + 1} of the expression)`
  return { path: ['allow'], message, remedy }
}
