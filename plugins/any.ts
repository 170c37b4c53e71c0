import type { FastifyRequest } from 'fastify'
import type { PluginUse } from '../src/config/schema.ts'
import type { ComposedPlugin, GatewayPlugin, RouteInstance } from '../src/plugin/define.ts'

const kChosen = Symbol('any')
type Choosing = FastifyRequest & { [kChosen]?: number }
type Hook = (this: unknown, ...given: unknown[]) => unknown
type AddHook = (name: string, hook: Hook) => unknown

/**
 * Several ways in on one route. The first plugin of the list whose credential a request carries judges it, alone: a bad
 * credential never falls through to the next, or whoever holds a revoked token would try the others with it. Requests without
 * any go to the plugin that invites them (a sign-in), or else to the first, which refuses them in its own words.
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
    const inviting = choices.findIndex(({ invites }) => invites)
    const fallback = inviting === -1 ? 0 : inviting
    const concealed = choices.map((_choice, chosen) => headersOfOthers(choices, chosen))

    route.addHook('onRequest', function chooseCredential(request: Choosing, _reply, done) {
      const found = choices.findIndex(choice => choice.carries(request))
      const chosen = found === -1 ? fallback : found
      request[kChosen] = chosen
      conceal(request.gateway, concealed[chosen] ?? null)
      done()
    })
    for (const [position, choice] of choices.entries()) await choice.register(forChosen(route, position))
  }
} satisfies GatewayPlugin<PluginUse[]>

type Changes = Readonly<Record<string, null>>

/** What the plugins that were not chosen would have kept from the upstream; null: nothing. */
function headersOfOthers(choices: readonly ComposedPlugin[], chosen: number): Changes | null {
  const names = choices.flatMap(({ credentialHeaders }, position) =>
    position === chosen ? [] : credentialHeaders
  )
  return names.length === 0 ? null : Object.freeze(Object.fromEntries(names.map(name => [name, null])))
}

function conceal(gateway: FastifyRequest['gateway'], changes: Changes | null): void {
  if (changes === null) return
  const before = gateway.upstreamHeaders
  gateway.upstreamHeaders = before === null ? changes : { ...before, ...changes }
}

/** Hooks whose third argument is a payload, which one that does not run has to hand on. */
const payloadHooks = new Set(['preParsing', 'preSerialization', 'onSend'])

/** The route as one of the plugins sees it: its hooks run for the requests that it was chosen for. */
function forChosen(route: RouteInstance, position: number): RouteInstance {
  const addHook = route.addHook.bind(route) as unknown as AddHook

  function addGuardedHook(this: RouteInstance, name: string, hook: Hook): RouteInstance {
    // Hooks of the server (`onClose`, `onReady`) know no request.
    if (!requestHooks.has(name)) addHook(name, hook)
    else addHook(name, guarded(hook, position, payloadHooks.has(name)))
    return this
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
