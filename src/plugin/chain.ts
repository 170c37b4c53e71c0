import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { PluginUse } from '../config/schema.ts'
import { exchangeOf } from '../exchange.ts'
import { type GatewayPlugin, type Phase, phases } from './define.ts'

/** A plugin of a route with its options, in the place where it runs. */
export interface ChainLink {
  readonly plugin: GatewayPlugin
  readonly phase: Phase
  readonly options: unknown
}

/** The plugins of a route in the order in which they run: by phase; inside a phase as the YAML has them. */
export function orderChain(
  uses: readonly PluginUse[],
  plugins: ReadonlyMap<string, GatewayPlugin>
): ChainLink[] {
  const links = uses.map(({ name, options }) => {
    const plugin = plugins.get(name)
    if (plugin === undefined) throw new Error(`there is no plugin "${name}"`)
    const phase = plugin.phaseFor?.(options as Record<string, unknown>) ?? plugin.phase
    return { plugin, phase, options }
  })
  return links.toSorted((a, b) => phases.indexOf(a.phase) - phases.indexOf(b.phase))
}

/**
 * Marks that the plugin at `position` has let a request pass. The mark stands right behind the plugin's own hooks, so that
 * whatever goes wrong in between is that plugin's, and its allow is counted exactly when it was given.
 */
export function markPassed(route: FastifyInstance, position: number): void {
  route.addHook('onRequest', function pluginPassed(request, _reply, done) {
    const exchange = exchangeOf(request.raw)
    exchange.passed = position + 1
    exchange.running = null
    done()
  })
}

/** Marks that what comes now is the work of `plugin`, which stands in the options of another one. */
export function announce(route: FastifyInstance, plugin: string): void {
  route.addHook('onRequest', function pluginRuns(request, _reply, done) {
    exchangeOf(request.raw).running = plugin
    done()
  })
}

/** Hooks that run after the whole chain has let the request pass, with one another's plugins in between. */
const laterHooks = new Set(['preParsing', 'preValidation', 'preHandler', 'preSerialization', 'onSend'])
const answerHooks = new Set(['preSerialization', 'onSend', 'onError'])

type AddHook = (this: FastifyInstance, name: string, ...rest: unknown[]) => FastifyInstance

/**
 * Sees every hook that is added to a route's context, also by a Fastify plugin that one of ours registers: to know whose it
 * is when it fails, and whether the answer has to go through Fastify's reply (a route without such hooks does not pay for it).
 */
export class HookWatch {
  /** The plugin that is being registered. */
  plugin: string | null = null
  /** Some hook wants to see answers or errors. */
  seesAnswers = false
  readonly #marked = new Map<string, string>()

  constructor(context: FastifyInstance) {
    const watch = this
    const addHook = context.addHook as AddHook
    context.addHook = function watchedAddHook(this: FastifyInstance, name: string, ...rest: unknown[]) {
      if (answerHooks.has(name)) watch.seesAnswers = true
      if (!laterHooks.has(name)) return addHook.call(this, name, ...rest)
      watch.#mark(this, name, addHook)
      return addHook.call(this, name, ...rest.map(neverThrowsNothing))
    } as typeof context.addHook
  }

  #mark(context: FastifyInstance, name: string, addHook: AddHook): void {
    const { plugin } = this
    if (plugin === null || this.#marked.get(name) === plugin) return
    this.#marked.set(name, plugin)
    addHook.call(context, name, name === 'preHandler' || name === 'preValidation' ? mark : markWithPayload)

    function mark(request: FastifyRequest, _reply: unknown, done: () => void): void {
      exchangeOf(request.raw).running = plugin
      done()
    }

    function markWithPayload(
      request: FastifyRequest,
      _reply: unknown,
      payload: unknown,
      done: (error: null, payload: unknown) => void
    ): void {
      exchangeOf(request.raw).running = plugin
      done(null, payload)
    }
  }
}

type Hook = (this: unknown, ...given: unknown[]) => unknown

/**
 * Fastify takes a hook that throws null or undefined for the end of the chain, and the hooks behind it are never asked. A chain
 * of `onRequest` hooks is counted; later hooks of different plugins have no such count.
 */
function neverThrowsNothing(hook: unknown): unknown {
  // An async function cannot throw, and Fastify tells the two apart.
  if (typeof hook !== 'function' || hook.constructor.name === 'AsyncFunction') return hook
  return function guardedHook(this: unknown, ...given: unknown[]): unknown {
    try {
      return (hook as Hook).apply(this, given)
    } catch (error) {
      throw error ?? new Error('a hook threw nothing')
    }
  }
}
