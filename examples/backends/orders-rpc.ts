import { join } from 'node:path'
import {
  loadPackageDefinition,
  Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceClientConstructor,
  type sendUnaryData,
  status
} from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { ReflectionService } from '@grpc/reflection'

interface OrderId {
  id: string
}
interface Order {
  id: string
  item: string
  askedBy: string
}
interface Stage {
  name: string
}
interface Shop {
  shop: { v1: { Orders: ServiceClientConstructor } }
}

const stages = ['placed', 'packed', 'sent']
/** Milliseconds between two stages of an order. */
const stageInterval = 300
const unknown = { code: status.NOT_FOUND, details: 'no such order' }

/**
 * The orders as a gRPC service, with server reflection for tools such as grpcurl. It knows no more of tokens than its
 * sister for HTTP does.
 */
export function ordersRpcBackend(): Server {
  const definition = loadSync(join(import.meta.dirname, '../orders.proto'))
  const { shop } = loadPackageDefinition(definition) as unknown as Shop
  const orders = new Map([['7', 'lantern']])

  function get(call: ServerUnaryCall<OrderId, Order>, done: sendUnaryData<Order>): void {
    const { id } = call.request
    const item = orders.get(id)
    const askedBy = String(call.metadata.get('x-forwarded-user')[0] ?? '')
    if (item === undefined) done(unknown)
    else done(null, { id, item, askedBy })
  }

  function watch(call: ServerWritableStream<OrderId, Stage>): void {
    if (!orders.has(call.request.id)) {
      call.emit('error', unknown)
      return
    }
    const left = stages.values()
    function tell(): void {
      const { value: name } = left.next()
      if (name === undefined) call.end()
      else call.write({ name })
    }
    tell()
    const steps = setInterval(tell, stageInterval)
    call.once('finish', () => clearInterval(steps))
    call.once('cancelled', () => clearInterval(steps))
  }

  function remove(call: ServerUnaryCall<OrderId, Order>, done: sendUnaryData<Order>): void {
    orders.delete(call.request.id)
    done(unknown)
  }

  const server = new Server()
  server.addService(shop.v1.Orders.service, { Get: get, Watch: watch, Delete: remove })
  new ReflectionService(definition).addToServer(server)
  return server
}
