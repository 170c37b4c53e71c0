import type { FastifyInstance } from 'fastify'
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
    exchangeOf(request.raw).passed = position + 1
    done()
  })
}
