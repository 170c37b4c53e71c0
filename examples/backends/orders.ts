import Fastify, { type FastifyInstance } from 'fastify'

interface Order {
  id: string
  item: string
}

/**
 * A service as it usually stands behind a gateway: it knows nothing of tokens. Who asks is what the gateway says in
 * `X-Forwarded-User`, which no client can send.
 */
export function ordersBackend(): FastifyInstance {
  const app = Fastify()
  const orders = new Map<string, Order>([['7', { id: '7', item: 'lantern' }]])

  app.get<{ Params: { id: string } }>('/orders/:id', function readOrder(request, reply) {
    const order = orders.get(request.params.id)
    if (order === undefined) return reply.code(404).send({ error: 'no such order' })
    return { ...order, askedBy: request.headers['x-forwarded-user'] }
  })

  app.post<{ Body: { item: string } }>('/orders', function placeOrder(request, reply) {
    const id = String(orders.size + 7)
    orders.set(id, { id, item: request.body.item })
    return reply.code(201).send({ id })
  })

  return app
}
