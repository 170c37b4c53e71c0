/** The gateway as a library: what `sallyport start` runs. */
export type { Config } from './config/schema.ts'
export { Gateway, type GatewayAddresses, type GatewayOptions } from './gateway.ts'
export type { Outcome } from './outcome.ts'
export type { GatewayPlugin } from './plugin/define.ts'
