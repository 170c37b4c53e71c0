import type { Rpc } from './plugin/define.ts'

/** `/package.Service/Method`, and nothing else; null for another path, which no gRPC method has. */
export function rpcOf(target: string): Rpc | null {
  const slash = target.indexOf('/', 1)
  const isRpc =
    slash > 1 && slash < target.length - 1 && !target.includes('/', slash + 1) && !target.includes('?')
  return isRpc ? { service: target.slice(1, slash), method: target.slice(slash + 1) } : null
}
