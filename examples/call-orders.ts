import { join } from 'node:path'
import { parseArgs } from 'node:util'
import {
  type Client,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceClientConstructor,
  type ServiceError,
  status
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'

/**
 * A gRPC client in one file, for those who have no grpcurl: `node examples/call-orders.ts http://127.0.0.1:8081 Get 7`. Writes each
 * message of the answer as a line of JSON, and the status of a call that fails.
 */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { token: { type: 'string' } }
})
const [url = 'http://127.0.0.1:8081', method = 'Get', id = '7'] = positionals

interface Shop {
  shop: { v1: { Orders: ServiceClientConstructor } }
}
const definition = loadSync(join(import.meta.dirname, 'orders.proto'))
const { Orders } = (loadPackageDefinition(definition) as unknown as Shop).shop.v1
const { path, requestSerialize, responseDeserialize } = Orders.service[method] ?? unknownMethod()

const metadata = new Metadata()
if (values.token !== undefined) metadata.set('authorization', `Bearer ${values.token}`)
const client: Client = new Orders(new URL(url).host, credentials.createInsecure())

// A call with one answer is a stream of one message, on the wire and here.
const answer = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, { id }, metadata, {
  deadline: Date.now() + 5000
})
answer.on('data', message => console.log(JSON.stringify(message)))
answer.on('error', (error: ServiceError) => console.log(`${status[error.code]}: ${error.details}`))
answer.on('close', () => client.close())
answer.on('end', () => client.close())

function unknownMethod(): never {
  console.error(`shop.v1.Orders has no method ${method}: it has ${Object.keys(Orders.service).join(', ')}`)
  process.exit(2)
}
