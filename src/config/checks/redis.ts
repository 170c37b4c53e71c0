import { readRedisUrl } from '../../store/redis-url.ts'
import type { Check } from './context.ts'

/** A Redis that can never be reached is a mistake, not an outage that `onError` covers up. */
export const checkRedis: Check = ({ config, surroundings, isSound, report }) => {
  const path = ['redis', 'url']
  if (config.redis === undefined || surroundings === undefined || !isSound(path)) return
  const text = surroundings.secretText(config.redis.url)
  const address = text === null ? null : readRedisUrl(text)
  if (typeof address === 'string')
    report(path, address, 'write redis://USER:PASSWORD@HOST:PORT, or rediss:// for TLS')
}
