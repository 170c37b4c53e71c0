import type { Protocol } from '../outcome.ts'
import { createGrpcHook } from './grpc.ts'
import { createProxyHook } from './http.ts'
import type { ProxyHook, ProxyTarget } from './target.ts'
import { createWebSocketHook } from './websocket.ts'

/** What takes a request over at the end of a route's chain, by the route's protocol. */
export type Proxies = Readonly<Record<Protocol, (target: ProxyTarget) => ProxyHook>>

/** Those that call the upstream. */
export const proxies: Proxies = {
  http: createProxyHook,
  grpc: createGrpcHook,
  websocket: createWebSocketHook
}
