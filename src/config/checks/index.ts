import { checkAccess } from './access.ts'
import type { Check } from './context.ts'
import { checkExternalUrl } from './external-url.ts'
import { checkIssuers } from './issuers.ts'
import { checkListeners } from './listeners.ts'
import { checkMatches } from './matches.ts'
import { checkNames } from './names.ts'
import { checkOverlaps } from './overlaps.ts'
import { checkPluginOptions } from './plugin-options.ts'
import { checkRedis } from './redis.ts'
import { checkRewrites } from './rewrites.ts'
import { checkRouteUpstreams } from './route-upstreams.ts'
import { checkRpcTransport } from './rpc-transport.ts'
import { checkSecrets } from './secrets.ts'
import { checkSignIn } from './sign-in.ts'
import { checkSignedIdentity } from './signed-identity.ts'
import { checkTls } from './tls.ts'
import { checkUpstreamUrls } from './upstream-urls.ts'
import { checkWebSockets } from './websockets.ts'

/** Every rule that no schema can state. */
export const checks: readonly Check[] = [
  checkNames,
  checkExternalUrl,
  checkListeners,
  checkIssuers,
  checkUpstreamUrls,
  checkMatches,
  checkRewrites,
  checkOverlaps,
  checkRouteUpstreams,
  checkRpcTransport,
  checkWebSockets,
  checkAccess,
  checkPluginOptions,
  checkSecrets,
  checkTls,
  checkSignedIdentity,
  checkRedis,
  checkSignIn
]
