import type { GatewayPlugin } from '../src/plugin/define.ts'
import accessLog from './access-log.ts'
import anonymous from './anonymous.ts'
import any from './any.ts'
import apiKey from './api-key.ts'
import authorize from './authorize.ts'
import bodyLimit from './body-limit.ts'
import concurrency from './concurrency.ts'
import cors from './cors.ts'
import forwardAuth from './forward-auth.ts'
import headers from './headers.ts'
import introspection from './introspection.ts'
import ipFilter from './ip-filter.ts'
import jwt from './jwt.ts'
import metrics from './metrics.ts'
import mtls from './mtls.ts'
import oidc from './oidc.ts'
import protocol from './protocol.ts'
import rateLimit from './rate-limit.ts'
import requestId from './request-id.ts'

/** Every built-in: this list is the vocabulary of `plugins:` in the YAML. Each checks its own options by its schema. */
export const builtins = [
  accessLog,
  anonymous,
  any,
  apiKey,
  authorize,
  bodyLimit,
  concurrency,
  cors,
  forwardAuth,
  headers,
  introspection,
  ipFilter,
  jwt,
  metrics,
  mtls,
  oidc,
  protocol,
  rateLimit,
  requestId
] as unknown as readonly GatewayPlugin[]
