import { existsSync } from 'node:fs'
import type { GatewayPlugin } from '../../src/plugin/define.ts'

/** The built-in plugins in the order of `plugins/index.ts`; null while there is no such file. */
export async function builtinPlugins(): Promise<GatewayPlugin[] | null> {
  const index = new URL('../../plugins/index.ts', import.meta.url)
  if (!existsSync(index)) return null
  const { builtins } = (await import(index.href)) as { builtins: GatewayPlugin[] }
  return builtins
}
