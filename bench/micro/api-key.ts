/** What a key costs a request, without a socket: most of it is one SHA-256. `node bench/micro/api-key.ts` */
import { digestOfKey, makeKey } from '../../plugins/api-key/key.ts'
import apiKey, { type ApiKeyOptions } from '../../plugins/api-key.ts'
import type { ParseFile, RouteInstance } from '../../src/plugin/define.ts'
import { captured, measure } from './hook.ts'

const made = Array.from({ length: 1000 }, makeKey)
const entries = made.map(
  ({ id, key }) => `{ id: ${id}, owner: ann, hash: "sha256:${digestOfKey(key).toString('hex')}" }`
)
const file = `keys: [${entries.join(', ')}]`

/** The plugin, with a file in memory. */
const plugin = {
  ...apiKey,
  register(route: RouteInstance, options: ApiKeyOptions) {
    const watchFile = async <Value>(path: string, parse: ParseFile<Value>) => ({ current: parse(file, path) })
    const gateway = { ...route.gateway, watchFile }
    return apiKey.register(Object.create(route, { gateway: { value: gateway } }), options)
  }
}

const { hook, request, reply } = await captured(plugin, { keys: { file: 'keys.yaml' } })
for (const [name, headers] of [
  ['X-API-Key', { 'x-api-key': made[500]?.key }],
  ['Authorization: ApiKey', { authorization: `ApiKey ${made[500]?.key}` }]
] as const) {
  for (const each of ['x-api-key', 'authorization']) delete request.headers[each]
  Object.assign(request.headers, headers)
  await measure(name, () => {
    request.gateway.upstreamHeaders = null
    return hook(request, reply, () => {})
  })
}
