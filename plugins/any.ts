import type { FastifyRequest } from 'fastify'
import type { PluginUse } from '../src/config/schema.ts'
import type { Refusal, RefusalOptions } from '../src/errors.ts'
import type { ComposedPlugin, GatewayPlugin, RouteInstance } from '../src/plugin/define.ts'

const kChosen = Symbol('any')
const kEmpty = Symbol('any.empty')
type Choosing = FastifyRequest & { [kChosen]?: number; [kEmpty]?: boolean }
type Hook = (this: unknown, ...given: unknown[]) => unknown
type AddHook = (name: string, hook: Hook) => unknown

/**
 * Several ways in on one route. The first plugin of the list whose credential a request carries judges it, alone: a bad
 * credential never falls through to the next, or whoever holds a revoked token would try the others with it. Requests without
 * any go to the plugin that takes everybody, or else to the one that invites them (a sign-in), or are told of every way in.
 */
export default {
  name: 'any',
  phase: 'authenticate',
  composes: true,
  schema: {
    type: 'array',
    description: 'Plugins that authenticate, one of which has to accept the request.',
    items: { type: ['string', 'object'] },
    minItems: 1
  },

  async register(route, uses) {
    const choices = uses.map(use => route.gateway.plugin(use))
    const choose = chooser(choices)
    const inviting = choices.findIndex(({ invites }) => invites)
    const concealed = choices.map((_choice, chosen) => concealer(choices, chosen))
    const noCredential: RefusalOptions = { headers: { 'www-authenticate': challengesOf(choices).join(', ') } }

    route.addHook('onRequest', function chooseCredential(request: Choosing, _reply, done) {
      const chosen = choose(request)
      if (chosen === -1) return route.gateway.deny('token.missing', noCredential)
      request[kChosen] = chosen
      request[kEmpty] = chosen === inviting && !choices[chosen]?.carries(request)
      done()
    })

    /** A plugin that invites speaks for itself alone when there is nobody to invite. */
    function tellOfAll(error: unknown): unknown {
      if (!isRefusal(error) || error.reason !== 'token.missing') return error
      const own = error.headers?.['www-authenticate'] ?? []
      const all = new Set([...challengesOf(choices), own].flat())
      try {
        return route.gateway.deny(error.reason, { headers: { 'www-authenticate': [...all].join(', ') } })
      } catch (refusal) {
        return refusal
      }
    }

    for (const [position, choice] of choices.entries())
      await choice.register(forChosen(route, position, choice.invites ? tellOfAll : null))
    // Behind them: two plugins may look in the same place.
    route.addHook('onRequest', function concealOthers(request: Choosing, _reply, done) {
      concealed[request[kChosen] as number]?.(request)
      done()
    })
  }
} satisfies GatewayPlugin<PluginUse[]>

type Choose = (request: FastifyRequest) => number

/** Which plugin judges a request; -1: none, for there is nothing to judge. */
function chooser(choices: readonly ComposedPlugin[]): Choose {
  const nobody = choices.findIndex(({ asksNobody }) => asksNobody)
  const inviting = choices.findIndex(({ invites }) => invites)
  const otherwise = nobody !== -1 ? nobody : inviting
  // A plugin that does not say its challenge has to be asked for it.
  const silent = choices.every(({ challenge }) => challenge !== null) ? -1 : 0
  const fallback = otherwise === -1 ? silent : otherwise
  const schemes = choices.map(({ scheme }) => scheme)

  return function choosePlugin(request) {
    for (let i = 0; i < choices.length; i++) {
      const choice = choices[i] as ComposedPlugin
      if (!choice.asksNobody && choice.carries(request)) return i
    }
    const scheme = schemeOf(request)
    const named = scheme === null ? -1 : schemes.indexOf(scheme)
    return named === -1 ? fallback : named
  }
}

/** In lower case (RFC 9110, 11.1); null without `Authorization`. */
function schemeOf({ headers: { authorization } }: FastifyRequest): string | null {
  return authorization === undefined ? null : (authorization.split(/[ \t]/, 1)[0] ?? '').toLowerCase()
}

function challengesOf(choices: readonly ComposedPlugin[]): string[] {
  return [...new Set(choices.flatMap(({ challenge }) => challenge ?? []))]
}

/** Keeps from the upstream what is for the plugins that were not chosen. */
function concealer(choices: readonly ComposedPlugin[], chosen: number): (request: FastifyRequest) => void {
  const others = choices.filter((_choice, position) => position !== chosen)
  const takes = others.flatMap(({ conceal }) => conceal ?? [])
  const names = new Set(others.flatMap(({ credentialHeaders }) => credentialHeaders).map(fold))
  const lengths = new Set([...names].map(name => name.length))
  const { scheme: own } = choices[chosen] as ComposedPlugin
  const schemes = new Set(others.flatMap(({ scheme }) => scheme ?? []).filter(scheme => scheme !== own))

  return function concealCredentials(request) {
    for (const take of takes) take(request)
    let changes: Record<string, null> | null = null
    for (const name in request.headers) {
      if (!lengths.has(name.length) || !names.has(fold(name))) continue
      changes ??= {}
      changes[name] = null
    }
    const scheme = own === '*' || schemes.size === 0 ? null : schemeOf(request)
    if (scheme !== null && schemes.has(scheme)) changes = { ...changes, authorization: null }
    if (changes === null) return
    const { gateway } = request
    // What the plugin that has judged it says stands.
    gateway.upstreamHeaders = { ...changes, ...gateway.upstreamHeaders }
  }
}

/** One spelling for all that an upstream may take for the same name. */
function fold(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '-')
}

/** Hooks whose third argument is a payload, which one that does not run has to hand on. */
const payloadHooks = new Set(['preParsing', 'preSerialization', 'onSend'])

type Refine = (error: unknown) => unknown

/** The route as one of the plugins sees it: its hooks run for the requests that it was chosen for. */
function forChosen(route: RouteInstance, position: number, refine: Refine | null): RouteInstance {
  const addHook = route.addHook.bind(route) as unknown as AddHook

  function addGuardedHook(this: RouteInstance, name: string, hook: Hook): RouteInstance {
    // Hooks of the server (`onClose`, `onReady`) know no request.
    if (!requestHooks.has(name)) addHook(name, hook)
    else addHook(name, guarded(refined(name, hook), position, payloadHooks.has(name)))
    return this
  }

  /** What a hook with a callback says to it. */
  function refined(name: string, hook: Hook): Hook {
    if (refine === null || name !== 'onRequest' || hook.length < 3) return hook
    return function runRefined(this: unknown, request, reply, done) {
      if (!(request as Choosing)[kEmpty]) return hook.call(this, request, reply, done)
      const tell = (error?: unknown) => (done as (error?: unknown) => void)(refine(error))
      return hook.call(this, request, reply, tell)
    }
  }

  return Object.create(route, { addHook: { value: addGuardedHook } }) as RouteInstance
}

const requestHooks = new Set([
  'onRequest',
  'preValidation',
  'preHandler',
  'onError',
  'onResponse',
  'onTimeout',
  'onRequestAbort',
  ...payloadHooks
])

function isChosen(request: unknown, position: number): boolean {
  return (request as Choosing)[kChosen] === position
}

function guarded(hook: Hook, position: number, hasPayload: boolean): Hook {
  const isAsync = hook.constructor.name === 'AsyncFunction' || hook.length < (hasPayload ? 4 : 3)
  if (isAsync) return hasPayload ? asyncPayloadHook(hook, position) : asyncHook(hook, position)
  return hasPayload ? payloadHook(hook, position) : plainHook(hook, position)
}

function plainHook(hook: Hook, position: number): Hook {
  return function runIfChosen(this: unknown, request, reply, done) {
    if (isChosen(request, position)) return hook.call(this, request, reply, done)
    return (done as () => void)()
  }
}

function payloadHook(hook: Hook, position: number): Hook {
  return function runIfChosen(this: unknown, request, reply, payload, done) {
    if (isChosen(request, position)) return hook.call(this, request, reply, payload, done)
    return (done as (error: null, payload: unknown) => void)(null, payload)
  }
}

// Fastify takes an async function with a third parameter for one that has mistaken it for a callback.
function asyncHook(hook: Hook, position: number): Hook {
  return async function runIfChosen(this: unknown, request, reply) {
    if (isChosen(request, position)) return hook.call(this, request, reply)
    return undefined
  }
}

function asyncPayloadHook(hook: Hook, position: number): Hook {
  return async function runIfChosen(this: unknown, request, reply, payload) {
    return isChosen(request, position) ? hook.call(this, request, reply, payload) : payload
  }
}

/** By its shape: a plugin has no runtime imports of the gateway. */
function isRefusal(error: unknown): error is Refusal {
  return error instanceof Error && error.name === 'Refusal' && 'reason' in error
}
