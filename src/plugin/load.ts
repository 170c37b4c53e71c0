import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { basename, extname, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type GatewayPlugin, phases } from './define.ts'

/** A plugin that cannot be used stops the start: a gateway that skips one would be open where it should be closed. */
export class PluginLoadError extends Error {
  readonly code = 'SP_PLUGIN_LOAD'
  readonly file: string

  constructor(file: string, problem: string, remedy: string, cause?: unknown) {
    super(`${file}  ${problem}  ${remedy}`, { cause })
    this.name = 'PluginLoadError'
    this.file = file
  }
}

const extensions = new Set(['.js', '.mjs', '.ts'])
const namePattern = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/

/**
 * The built-ins and, where `folder` is given, the custom plugins in it, by name. A custom plugin takes its file name. Files
 * are imported under the hash of their content, because a module is otherwise read once a process and a reload would miss
 * the change.
 */
export async function loadPlugins(
  builtins: readonly GatewayPlugin[],
  folder: string | undefined
): Promise<ReadonlyMap<string, GatewayPlugin>> {
  const plugins = new Map<string, GatewayPlugin>()
  for (const plugin of builtins) plugins.set(plugin.name, plugin)
  if (folder === undefined) return plugins
  for (const file of await pluginFiles(folder)) {
    const plugin = await importPlugin(file)
    if (plugins.has(plugin.name)) {
      throw new PluginLoadError(file, `there is a plugin "${plugin.name}" already`, 'rename the file')
    }
    plugins.set(plugin.name, plugin)
  }
  return plugins
}

/** Plugin files of a folder in name order. Dot files are skipped: a mounted ConfigMap keeps its data in `..data`. */
export async function pluginFiles(folder: string): Promise<string[]> {
  let names: string[]
  try {
    names = await readdir(folder)
  } catch (error) {
    throw new PluginLoadError(
      folder,
      'the plugins folder cannot be read',
      'check the path and its permissions',
      error
    )
  }
  const files = names.filter(
    name => !name.startsWith('.') && extensions.has(extname(name)) && !name.endsWith('.d.ts')
  )
  return files.sort().map(name => resolve(join(folder, name)))
}

async function importPlugin(file: string): Promise<GatewayPlugin> {
  const name = basename(file, extname(file))
  if (!namePattern.test(name)) {
    throw new PluginLoadError(
      file,
      `"${name}" is not a plugin name`,
      'use lower-case letters, digits and dashes'
    )
  }
  let module: { default?: unknown }
  try {
    const hash = createHash('sha256')
      .update(await readFile(file))
      .digest('hex')
    module = await import(`${pathToFileURL(file).href}?sha256=${hash}`)
  } catch (error) {
    throw new PluginLoadError(
      file,
      `the file cannot be loaded: ${(error as Error).message}`,
      'fix the file or remove it',
      error
    )
  }
  const plugin = module.default as Partial<GatewayPlugin> | undefined
  if (typeof plugin !== 'object' || plugin === null || typeof plugin.register !== 'function') {
    throw new PluginLoadError(
      file,
      'the default export is not a plugin',
      'export { phase, schema, register } as the default'
    )
  }
  if (plugin.phase === undefined || !phases.includes(plugin.phase)) {
    throw new PluginLoadError(file, `"${plugin.phase}" is not a phase`, `use one of: ${phases.join(', ')}`)
  }
  if (typeof plugin.schema !== 'object' || plugin.schema === null) {
    throw new PluginLoadError(
      file,
      'the plugin has no schema',
      'give the JSON Schema of its options, even an empty object'
    )
  }
  if (plugin.name !== undefined && plugin.name !== name) {
    throw new PluginLoadError(
      file,
      `the plugin calls itself "${plugin.name}"`,
      'a custom plugin takes its file name: leave out `name`'
    )
  }
  return { ...plugin, name } as GatewayPlugin
}
